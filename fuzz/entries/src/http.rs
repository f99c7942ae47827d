//! The door for phones, from the bytes on a socket to the frame that the writer is handed.
//!
//! - Whatever is sent, the connection ends once its client has said everything, with an HTTP answer or none.
//! - A push is answered with 200 only after the writer had it, whole.
//! - Where there is a list of phones nothing is kept without a token of it, and nothing of another device than that token's.

use std::cell::RefCell;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use gaitway_agent::config::LimitsConfig;
use gaitway_agent::ingest::http::{Door, Quotas, router, serve};
use gaitway_agent::metrics::AgentMetrics;
use gaitway_agent::names::Names;
use gaitway_agent::phones::PhonesFile;
use gaitway_agent::writer::{Accepted, Command};
use gaitway_service::server;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::runtime::Runtime;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use crate::kept::assert_kept;

/// A list with one phone, whose token is `fuzzfuzzfuzzfuzzfuzz` and whose device `d`.
const PHONES: &str = r#"{"version":1,"phones":[{"name":"anna","token_sha256":"e84f9b66227cc6b05b1600fb57a9f6d84a865a7125199c903e7273c074a481ce","added":"2025-07-05T00:00:00Z","device":"d"}]}"#;

const TOKEN: &[u8] = b"fuzzfuzzfuzzfuzzfuzz";

/// Far above what the server lets anybody take.
const ENDS_WITHIN: Duration = Duration::from_secs(60);

thread_local! {
    static HOUSE: RefCell<Option<House>> = const { RefCell::new(None) };
}

/// Any bytes on a connection to an agent's door; behind a first `!` on one to a door with a list of phones.
pub(crate) fn http(bytes: &[u8]) {
    HOUSE.with_borrow_mut(|house| {
        let house = match house {
            Some(house) => house,
            none => none.insert(House::open().expect("loopback and a temporary folder are to be had")),
        };
        match bytes {
            [b'!', bytes @ ..] => house.visit(true, bytes),
            bytes => house.visit(false, bytes),
        }
    });
}

/// Both doors, and the writer that they hand pushes to.
struct House {
    runtime: Runtime,
    open: SocketAddr,
    listed: SocketAddr,
    writer: mpsc::Receiver<Command>,
    _folders: [tempfile::TempDir; 2],
}

impl House {
    fn open() -> anyhow::Result<Self> {
        let folders = [tempfile::tempdir()?, tempfile::tempdir()?];
        std::fs::write(PhonesFile::new(folders[1].path()).path(), PHONES)?;
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let (commands, writer) = mpsc::channel(16);
        let door = |folder: &tempfile::TempDir| -> anyhow::Result<SocketAddr> {
            let door = Door {
                writer: commands.clone(),
                metrics: AgentMetrics::default(),
                status: Arc::default(),
                phones: Arc::new(PhonesFile::new(folder.path())),
                quotas: Quotas::new(&LimitsConfig::default()),
                names: Names::default(),
            };
            let _inside = runtime.enter();
            let listener = server::bind(([127, 0, 0, 1], 0).into())?;
            let address = listener.local_addr()?;
            runtime.spawn(serve(listener, router(door), None, CancellationToken::new()));
            Ok(address)
        };
        let (open, listed) = (door(&folders[0])?, door(&folders[1])?);
        Ok(Self { runtime, open, listed, writer, _folders: folders })
    }

    fn visit(&mut self, listed: bool, bytes: &[u8]) {
        let address = if listed { self.listed } else { self.open };
        let writer = &mut self.writer;
        let (answer, kept) = self.runtime.block_on(async {
            let client = tokio::time::timeout(ENDS_WITHIN, ask(address, bytes));
            tokio::pin!(client);
            let mut kept = 0;
            loop {
                tokio::select! {
                    answer = &mut client => break (answer.expect("the connection ends").unwrap_or_default(), kept),
                    command = writer.recv() => {
                        let device = keep(command);
                        assert!(!listed || device == "d", "a token of another device: {device}");
                        kept += 1;
                    }
                }
            }
        });
        // A token may also come in percent or base64.
        let shown =
            [TOKEN, b"%", b"asic"].iter().any(|token| bytes.windows(token.len()).any(|window| window == *token));
        assert!(!listed || kept == 0 || shown, "{kept} pushes kept of nobody");
        assert!(answer.is_empty() || answer.starts_with(b"HTTP/1."), "no HTTP: {}", String::from_utf8_lossy(&answer));
        let said = |what: &[u8]| answer.windows(what.len()).filter(|window| *window == what).count();
        // The test button's push, which has no readings, is answered and not kept.
        assert!(
            said(SUCCESS) <= kept + said(NO_READINGS),
            "{} pushes kept: {}",
            kept,
            String::from_utf8_lossy(&answer)
        );
    }
}

const SUCCESS: &[u8] = br#"{"status":"success","processed_readings":"#;
const NO_READINGS: &[u8] = br#"{"status":"success","processed_readings":0}"#;

/// Says `bytes` and hears what is answered.
async fn ask(address: SocketAddr, bytes: &[u8]) -> anyhow::Result<Vec<u8>> {
    let mut stream = TcpStream::connect(address).await.context("nobody listens")?;
    let mut answer = Vec::new();
    let (mut hear, mut say) = stream.split();
    let said = async {
        // A server that has heard enough may close while it is spoken to.
        let _ = say.write_all(bytes).await;
        let _ = say.shutdown().await;
    };
    let (heard, ()) = tokio::join!(hear.read_to_end(&mut answer), said);
    // What came before a reset counts.
    let _ = heard;
    Ok(answer)
}

/// What the writer does with a push, here to look whether it is whole; its device.
fn keep(command: Option<Command>) -> String {
    let Some(Command::Push(received, answer)) = command else { panic!("a door hands over pushes and nothing else") };
    assert_kept(&received.body, &received.push);
    let readings = received.push.packed.readings();
    // Who pushed may be gone.
    let _ = answer.send(Ok(Accepted { readings, duplicate: false }));
    received.push.device
}
