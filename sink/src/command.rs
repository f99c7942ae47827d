//! `gaitway sink`, which is also `gaitway-sink`.

use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;

use anyhow::Context as _;
use gaitway_proto::schema::{Dialect, ddl_script};
use gaitway_service::health::Health;
use gaitway_service::healthcheck::{self, Target};
use gaitway_service::lock::{DataDir, Locked};
use gaitway_service::metrics::Metrics;
use gaitway_service::{config, logs, signals};
use serde::Serialize;
use tokio::runtime::Handle;
use tokio_util::sync::CancellationToken;

use crate::config::{SinkConfig, WarehouseKind};
use crate::ledgers::{Ledgers, Shared};
use crate::sqlite::Warehouse;
use crate::{postgres, snowflake};

mod redrive;

/// Reads records from Kafka and stores each once in a warehouse.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Configuration file [default: /etc/gaitway/sink.toml if it exists]
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// Brokers of Kafka [default: 127.0.0.1:9092]
    #[arg(long, value_name = "HOST:PORT,…")]
    kafka: Option<String>,
    /// Begin partitions of which the warehouse has no mark at the group's offset: once, to take over from a consumer that
    /// stored everything before it
    #[arg(long)]
    adopt_from_group: bool,
    #[command(subcommand)]
    task: Option<Task>,
}

/// The command line of `gaitway-sink`.
#[derive(Debug, clap::Parser)]
#[command(name = "gaitway-sink", version, about)]
pub struct Cli {
    /// What is asked for.
    #[command(flatten)]
    pub args: Args,
}

/// The command line, for those who describe it.
pub fn command() -> clap::Command {
    gaitway_service::completions::command::<Cli>()
}

/// What is done instead of running a sink.
#[derive(Debug, clap::Subcommand)]
enum Task {
    /// Print the SQL that creates the tables
    Ddl {
        /// The warehouse's
        #[arg(long)]
        dialect: DialectName,
    },
    /// Append again what Snowflake accepted and did not store, at the offsets that the sink names where it stops
    Redrive(redrive::Args),
    /// Ask the running sink whether data moves: /readyz, for images; ends with 1 if it does not
    Healthcheck(healthcheck::Args),
}

#[derive(Debug, Clone, Copy, clap::ValueEnum)]
enum DialectName {
    Snowflake,
    Postgres,
    Sqlite,
}

/// The flags in the shape of [`SinkConfig`].
#[derive(Debug, Serialize)]
struct Flags {
    kafka: KafkaFlags,
}

#[derive(Debug, Serialize)]
struct KafkaFlags {
    brokers: Option<String>,
}

impl Flags {
    fn new(kafka: Option<String>) -> Self {
        Self { kafka: KafkaFlags { brokers: kafka } }
    }
}

/// Runs the command until it is done, a sink until a signal ends it.
pub async fn run(args: Args) -> anyhow::Result<ExitCode> {
    let Args { config: file, kafka, adopt_from_group, task } = args;
    match task {
        None => {}
        Some(Task::Ddl { dialect }) => {
            print_ddl(dialect).context("cannot print")?;
            return Ok(ExitCode::SUCCESS);
        }
        Some(Task::Redrive(mut task)) => {
            task.config = task.config.or(file);
            task.kafka = task.kafka.or(kafka);
            return redrive::run(task).await;
        }
        Some(Task::Healthcheck(args)) => {
            return ask_whether_ready(args.url, args.config.as_deref().or(file.as_deref()), Flags::new(kafka)).await;
        }
    }
    logs::init();
    let loaded = config::read::<SinkConfig>("sink", file.as_deref(), None, Flags::new(kafka))?;
    SinkConfig::check_chosen(&loaded)?;
    let mut config = loaded.config;
    config.adopt_from_group = adopt_from_group;
    let shutdown = signals::shutdown()?;
    let (health, metrics) = (Health::new(), Metrics::new());
    let (ledgers, _locked) = open(&config, &metrics, &shutdown).await?;
    crate::run(config, ledgers, &health, &metrics, shutdown).await?;
    Ok(ExitCode::SUCCESS)
}

async fn ask_whether_ready(url: Option<Target>, file: Option<&Path>, flags: Flags) -> anyhow::Result<ExitCode> {
    if let Some(target) = url {
        return healthcheck::run(&target).await;
    }
    let config = config::load_either::<SinkConfig>("sink", file, flags)?;
    let admin = config.admin.context("sink.admin is not set, so that nobody can ask this sink: set it to IP:PORT")?;
    healthcheck::run(&Target::ready(admin)).await
}

/// The warehouse of `config`, and what keeps others from it.
async fn open(
    config: &SinkConfig,
    metrics: &Metrics,
    shutdown: &CancellationToken,
) -> anyhow::Result<(Arc<dyn Ledgers>, Option<Locked>)> {
    match config.warehouse {
        WarehouseKind::Postgres => {
            let options = config.postgres.clone();
            tracing::info!(warehouse = %options.url, "records are kept here");
            let opening = tokio::task::spawn_blocking(move || postgres::Warehouse::new(&options));
            let warehouse = opening.await.context("opening the warehouse was interrupted")??;
            Ok((Arc::new(Shared::new(warehouse, postgres::refuses)), None))
        }
        WarehouseKind::Snowflake => {
            let options = config.snowflake.clone().context("the table snowflake is missing")?;
            tracing::info!(account = options.account, database = options.database, "records are kept here");
            let client = snowflake::Client::new(options, Handle::current(), shutdown.clone())?;
            Ok((Arc::new(client), None))
        }
        WarehouseKind::Sqlite => {
            let options = config.sqlite.clone();
            let directory = options.path.parent().filter(|parent| !parent.as_os_str().is_empty());
            let locked = DataDir::lock(directory.unwrap_or(Path::new(".")))?;
            tracing::info!(warehouse = %std::path::absolute(&options.path)?.display(), "records are kept here");
            let opening = tokio::task::spawn_blocking(move || Warehouse::open(options.path.clone(), &options));
            let warehouse = opening.await.context("opening the warehouse was interrupted")??;
            warehouse.counters().register(metrics);
            Ok((Arc::new(Shared::new(warehouse, |_| None)), Some(locked)))
        }
    }
}

fn print_ddl(dialect: DialectName) -> std::io::Result<()> {
    let script = match dialect {
        DialectName::Snowflake => ddl_script(Dialect::Snowflake),
        DialectName::Postgres => postgres::script(),
        DialectName::Sqlite => ddl_script(Dialect::Sqlite),
    };
    let mut out = std::io::stdout().lock();
    out.write_all(script.as_bytes())?;
    out.flush()
}
