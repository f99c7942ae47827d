//! The least of a browser: it follows redirects, keeps one cookie and names its site when it posts.

use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::time::Duration;

/// One that may have come by a link.
#[derive(Debug, Default)]
pub(crate) struct Browser {
    cookie: Option<String>,
    here: String,
    /// A proxy says that it passes on what comes.
    is_elsewhere: bool,
    /// The site that it posts from, if not the one it posts to.
    pub(crate) origin: Option<String>,
}

/// What it was answered at last.
#[derive(Debug)]
pub(crate) struct Page {
    pub(crate) status: u16,
    pub(crate) body: String,
}

impl Browser {
    /// One that is not on the agent's machine.
    pub(crate) fn elsewhere() -> Self {
        Self { is_elsewhere: true, ..Self::default() }
    }

    pub(crate) fn with_cookie(mut self, cookie: &str) -> Self {
        self.cookie = Some(cookie.to_owned());
        self
    }

    /// The address that it shows.
    pub(crate) fn here(&self) -> String {
        self.here.clone()
    }

    pub(crate) fn cookie(&self) -> &str {
        self.cookie.as_deref().expect("it came by a link")
    }

    pub(crate) fn get(&mut self, url: &str) -> Page {
        self.go("GET", url, "")
    }

    pub(crate) fn post(&mut self, url: &str, form: &str) -> Page {
        self.go("POST", url, form)
    }

    fn go(&mut self, method: &str, url: &str, form: &str) -> Page {
        let (site, path) = split(url);
        let mut stream = TcpStream::connect(site).unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(30))).unwrap();
        let mut head = format!("{method} /{path} HTTP/1.1\r\nHost: {site}\r\nConnection: close\r\n");
        if method == "POST" {
            let origin = self.origin.clone().unwrap_or_else(|| format!("http://{site}"));
            let length = form.len();
            head.extend([
                format!("Origin: {origin}\r\n"),
                format!("Content-Type: application/x-www-form-urlencoded\r\nContent-Length: {length}\r\n"),
            ]);
        }
        head.extend(self.cookie.iter().map(|cookie| format!("Cookie: {cookie}\r\n")));
        if self.is_elsewhere {
            head += "X-Forwarded-For: 192.0.2.1\r\n";
        }
        stream.write_all(format!("{head}\r\n{form}").as_bytes()).unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        let (head, body) = answer.split_once("\r\n\r\n").unwrap();
        let told = |name: &str| {
            let lines = head.lines().filter_map(|line| line.split_once(": "));
            lines.filter(|(key, _)| key.eq_ignore_ascii_case(name)).map(|(_, value)| value.to_owned()).next()
        };
        if let Some(cookie) = told("set-cookie") {
            self.cookie = Some(cookie.split(';').next().unwrap().to_owned());
        }
        url.clone_into(&mut self.here);
        match told("location") {
            Some(path) => self.get(&format!("http://{site}{path}")),
            None => Page { status: head.split(' ').nth(1).unwrap().parse().unwrap(), body: body.to_owned() },
        }
    }
}

impl Page {
    /// The state of the set-up page's light.
    pub(crate) fn light(&self) -> &str {
        self.body.split_once("id=\"light\" data-state=\"").unwrap().1.split_once('"').unwrap().0
    }
}

fn split(url: &str) -> (&str, &str) {
    url.strip_prefix("http://").unwrap().split_once('/').unwrap_or_else(|| panic!("{url} has a path"))
}
