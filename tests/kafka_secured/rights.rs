//! The rights that `deploy/kafka/README.md` lists, read from its commands.

use crate::house::Service;

/// One entry of an access list.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Right {
    pub(crate) user: String,
    pub(crate) operation: String,
    /// `topic`, `group` or `transactional-id`.
    pub(crate) kind: String,
    pub(crate) name: String,
}

impl Right {
    /// Whose right it is.
    pub(crate) fn service(&self) -> Service {
        if self.user == "relay" { Service::Relay } else { Service::Sink }
    }

    /// Behind `--add` or `--remove`.
    pub(crate) fn arguments(&self) -> [String; 6] {
        let principal = format!("User:{}", self.user);
        let kind = format!("--{}", self.kind);
        let [allow, operation] = ["--allow-principal", "--operation"].map(str::to_owned);
        [allow, principal, operation, self.operation.clone(), kind, self.name.clone()]
    }
}

/// All that the page's commands give, in their order.
pub(crate) fn listed() -> Vec<Right> {
    let page = include_str!("../../deploy/kafka/README.md").replace("\\\n", " ");
    let commands = page.lines().filter_map(|line| line.strip_prefix("kafka-acls.sh "));
    commands.flat_map(of_command).collect()
}

fn of_command(command: &str) -> Vec<Right> {
    let words: Vec<_> = command.split_whitespace().collect();
    let (mut user, mut operation, mut resources) = (None, None, Vec::new());
    let mut words = words.into_iter();
    while let Some(word) = words.next() {
        match word {
            "--add" => {}
            "--bootstrap-server" | "--command-config" => drop(words.next()),
            "--allow-principal" => user = words.next().and_then(|user| user.strip_prefix("User:")),
            "--operation" => operation = words.next(),
            "--topic" | "--group" | "--transactional-id" => resources.push((&word[2..], words.next().unwrap())),
            other => panic!("{other} in {command}"),
        }
    }
    let (user, operation) = (user.unwrap().to_owned(), operation.unwrap().to_owned());
    let right = |(kind, name): (&str, &str)| {
        let (user, operation) = (user.clone(), operation.clone());
        Right { user, operation, kind: kind.to_owned(), name: name.to_owned() }
    };
    resources.into_iter().map(right).collect()
}
