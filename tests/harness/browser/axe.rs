//! axe-core in a page: what shuts people out.

use std::io::Read as _;
use std::path::Path;
use std::process::Command;
use std::sync::OnceLock;

use serde_json::Value;

use super::Page;

/// The checker's script: of the jar that `GAITWAY_TEST_AXE` names, or `deploy/dev/axe.sh` fetches.
fn script() -> &'static str {
    static SCRIPT: OnceLock<String> = OnceLock::new();
    SCRIPT.get_or_init(|| {
        let jar = std::env::var("GAITWAY_TEST_AXE").unwrap_or_else(|_| {
            let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("deploy/dev/axe.sh");
            let ran = Command::new("bash").arg(script).output().expect("bash");
            assert!(ran.status.success(), "axe.sh: {}", String::from_utf8_lossy(&ran.stderr));
            String::from_utf8(ran.stdout).expect("a path").trim().to_owned()
        });
        let mut jar = zip::ZipArchive::new(std::fs::File::open(&jar).expect(&jar)).unwrap();
        let mut text = String::new();
        jar.by_name("axe.min.js").unwrap().read_to_string(&mut text).unwrap();
        text
    })
}

/// Every rule of axe-core that is no experiment, and that what is touched is large enough.
const RUN: &str =
    "axe.run(document, {preload: false, resultTypes: ['violations'], rules: {'target-size': {enabled: true}}})
    .then(found => found.violations.map(rule => rule.id + ': ' + rule.help + '\\n'
        + rule.nodes.map(node => '    ' + node.target.join(' ') + '  ' + node.html + '\\n    ' + node.failureSummary)
            .join('\\n')))";

impl Page {
    /// Asserts that axe-core finds nothing, in light and in dark; `state` says what the page shows.
    pub(crate) fn assert_accessible(&self, state: &str) {
        for scheme in ["dark", "light"] {
            self.wear(scheme);
            let found: Vec<String> = serde_json::from_value(self.violations()).expect("what each rule says");
            assert!(found.is_empty(), "{state}, {scheme}:\n{}", found.join("\n"));
        }
    }

    fn violations(&self) -> Value {
        if self.run("typeof axe") != "object" {
            self.run(&format!("{}; 0", script()));
        }
        self.run(RUN)
    }
}
