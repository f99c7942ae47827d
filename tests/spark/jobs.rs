//! Runs the jobs of `deploy/spark` as their README says.

use std::fs::{self, File};
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::OnceLock;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::harness::python::python;

pub(crate) const JOBS: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/deploy/spark");

/// What `command` said. A program that is not there, or that ends with another code, fails the test.
fn run(command: &mut Command, code: i32) -> String {
    let output = command.stdin(Stdio::null()).output().unwrap_or_else(|error| panic!("{command:?}: {error}"));
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    let errors = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(code), "{command:?}: {said}{errors}");
    said
}

/// What the checks of the jobs' own modules say.
pub(crate) fn check() -> String {
    let data = format!("{}/tests/data", env!("CARGO_MANIFEST_DIR"));
    run(Command::new("python3").env("PYTHONDONTWRITEBYTECODE", "1").arg(format!("{JOBS}/check.py")).arg(data), 0)
}

/// A Python with `PySpark`, and the jars beside it.
struct Spark {
    bin: PathBuf,
    home: PathBuf,
    jars: String,
}

fn spark() -> &'static Spark {
    static SPARK: OnceLock<Spark> = OnceLock::new();
    SPARK.get_or_init(|| {
        let bin = python("spark-python", &[Path::new(JOBS).join("requirements.txt")]).with_file_name("");
        let target = Path::new(env!("CARGO_TARGET_TMPDIR"));
        let home = "import os, pyspark; print(os.path.dirname(pyspark.__file__))";
        let home = run(Command::new(bin.join("python")).args(["-c", home]), 0).trim().into();
        let jars = format!("{}/deploy/dev/jars.sh", env!("CARGO_MANIFEST_DIR"));
        let folder =
            run(Command::new("bash").args([jars, format!("{JOBS}/pom.xml")]).arg(target.join("spark-jars")), 0);
        let jars = fs::read_dir(folder.trim()).unwrap().map(|jar| jar.unwrap().path().to_str().unwrap().to_owned());
        let jars: Vec<String> = jars.collect();
        Spark { bin, home, jars: jars.join(",") }
    })
}

/// `spark-submit` of a job on this machine alone; what it needs lies in `dir`.
pub(crate) fn submit(dir: &Path, job: &str, args: &[&str]) -> Command {
    let Spark { bin, home, jars } = spark();
    let settings = [
        "spark.ui.enabled=false",
        "spark.sql.shuffle.partitions=2",
        "spark.driver.host=127.0.0.1",
        "spark.driver.bindAddress=127.0.0.1",
        "spark.driver.extraJavaOptions=-XX:TieredStopAtLevel=1",
    ];
    let mut command = Command::new(home.join("bin/spark-submit"));
    command.current_dir(dir).env("SPARK_HOME", home).env("PYSPARK_PYTHON", bin.join("python"));
    command.env("SPARK_LOCAL_DIRS", dir).env("SPARK_LOCAL_IP", "127.0.0.1").env("PYTHONDONTWRITEBYTECODE", "1");
    command.args(["--master", "local[2]", "--jars", jars]);
    command.args(settings.iter().flat_map(|setting| ["--conf", setting]));
    command.arg(format!("{JOBS}/{job}")).args(args);
    command
}

/// What a job said that ended with `code`.
pub(crate) fn ended(command: &mut Command, code: i32) -> String {
    run(command, code)
}

/// What a job said that could not ask or write. `spark-submit` brings both of Python's outputs to its own first one.
pub(crate) fn refused(command: &mut Command) -> String {
    let output = command.stdin(Stdio::null()).output().unwrap();
    let (said, errors) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert_eq!(output.status.code(), Some(2), "{command:?}: {said}{errors}");
    said.into_owned()
}

/// A job that goes on until this is dropped. What it says goes into a file.
pub(crate) struct Running {
    child: Child,
    said: PathBuf,
}

impl Running {
    pub(crate) fn start(mut command: Command, dir: &Path) -> Self {
        let said = dir.join("said");
        let file = File::create(&said).unwrap();
        let child = command.stdin(Stdio::null()).stdout(file.try_clone().unwrap()).stderr(file).spawn().unwrap();
        Self { child, said }
    }

    /// Fails the test if it has ended.
    pub(crate) fn assert_runs(&mut self) {
        if let Some(status) = self.child.try_wait().unwrap() {
            panic!("the job ended, {status}: {}", fs::read_to_string(&self.said).unwrap());
        }
    }

    /// Kills it at this very moment.
    pub(crate) fn kill(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    /// Ends it as an operator does.
    pub(crate) fn terminate(&mut self) {
        kill(Pid::from_raw(self.child.id() as i32), Signal::SIGTERM).unwrap();
        self.child.wait().unwrap();
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        // It may have ended by itself. Of Java's own child, Python, the end is that of its connection.
        let _ = kill(Pid::from_raw(self.child.id() as i32), Signal::SIGTERM);
        let _ = self.child.wait();
        if std::thread::panicking() {
            let said = fs::read_to_string(&self.said).unwrap_or_default();
            let _ = std::io::stderr().write_all(said.as_bytes());
        }
    }
}
