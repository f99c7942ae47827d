//! Snowflake's own Kafka connector takes the configurations in `deploy/connectors`, in a Kafka Connect worker of the same jars. Of version 4
//! this is checked where `GAITWAY_SNOWFLAKE_V4` names a folder with it: its jars are not everywhere to be had.

#![cfg(feature = "kafka")]
#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod harness;

use std::path::Path;
use std::process::{Command, Stdio};

use harness::kafka;

#[test]
#[ignore = "needs kafka"]
fn snowflakes_connector_takes_the_configurations_and_refuses_wrong_ones() {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("deploy/connectors/validate.sh");
    let mut versions = vec!["v3"];
    versions.extend(std::env::var_os("GAITWAY_SNOWFLAKE_V4").map(|_| "v4"));
    for version in versions {
        let checked = Command::new(&script)
            .args([kafka::broker(), version])
            .stderr(Stdio::inherit())
            .output()
            .expect("validate.sh runs");
        let said = String::from_utf8_lossy(&checked.stdout);
        assert!(checked.status.success(), "{version}: {said}");
        for file in ["raw.json", "activity.json"] {
            let accepted =
                said.lines().any(|line| line.contains(file) && line.contains("accepted") && line.contains("refused"));
            assert!(accepted, "{version}/{file}: {said}");
        }
    }
}
