//! `bootstrap.servers`: a list of `host:port`. Pure.

use std::collections::BTreeSet;
use std::net::Ipv6Addr;

use super::value::{Rule, Setting, Value};

/// The list as it was given.
#[derive(Clone)]
pub(crate) struct Bootstrap(pub(super) String);

impl Value for Bootstrap {
    fn parse(text: &str, rule: &Rule) -> Result<Self, String> {
        let bootstrap = Self(text.to_owned());
        bootstrap.check(rule)?;
        Ok(bootstrap)
    }

    fn check(&self, _: &Rule) -> Result<(), String> {
        let (_, problems) = parse(&self.0);
        if problems.is_empty() { Ok(()) } else { Err(problems.join(", ")) }
    }

    fn show(&self) -> String {
        self.0.clone()
    }
}

impl Setting for Vec<(String, u16)> {
    type Given = Bootstrap;

    fn settle(given: &Bootstrap) -> Self {
        parse(&given.0).0
    }

    fn shown(&self) -> Option<String> {
        let server = |(host, port): &(String, u16)| {
            if host.contains(':') { format!("[{host}]:{port}") } else { format!("{host}:{port}") }
        };
        (!self.is_empty()).then(|| self.iter().map(server).collect::<Vec<_>>().join(","))
    }
}

/// The servers, each once, and what is wrong with the entries that are none.
fn parse(text: &str) -> (Vec<(String, u16)>, Vec<String>) {
    if text.trim().is_empty() {
        return (Vec::new(), vec!["the list is empty: name at least one broker as host:port".to_owned()]);
    }
    let (mut servers, mut problems) = (Vec::new(), Vec::new());
    let mut seen = BTreeSet::new();
    let mut position = 1; // in characters, from 1, as editors count
    for entry in text.split(',') {
        let blanks = entry.chars().take_while(|c| c.is_whitespace()).count();
        match parse_server(entry.trim()) {
            Ok(server) => {
                if seen.insert(server.clone()) {
                    servers.push(server);
                }
            }
            Err(reason) => problems.push(format!("at position {}: {reason}", position + blanks)),
        }
        position += entry.chars().count() + 1;
    }
    (servers, problems)
}

fn parse_server(entry: &str) -> Result<(String, u16), String> {
    if entry.is_empty() {
        return Err("a comma with no host:port beside it; remove the comma".to_owned());
    }
    if let Some((scheme, rest)) = entry.split_once("://") {
        return Err(format!("\"{scheme}://\" before the host; write \"{rest}\" (brokers have no url)"));
    }
    if let Some(rest) = entry.strip_prefix('[') {
        let Some((host, after)) = rest.split_once(']') else {
            return Err(format!("\"{entry}\" has no closing bracket; write [address]:port"));
        };
        let address = host.split_once('%').map_or(host, |(address, _zone)| address);
        if address.parse::<Ipv6Addr>().is_err() {
            return Err(format!("\"{host}\" is not an ipv6 address; write other hosts without brackets"));
        }
        let port = after.strip_prefix(':').ok_or_else(|| format!("\"{entry}\" has no port; write [{host}]:9092"))?;
        return Ok((host.to_owned(), parse_port(entry, port)?));
    }
    if entry.parse::<Ipv6Addr>().is_ok() || entry.matches(':').count() > 1 {
        return Err(format!("\"{entry}\" has several colons; write an ipv6 address as [address]:port"));
    }
    let (host, port) = entry.split_once(':').ok_or_else(|| format!("\"{entry}\" has no port; write {entry}:9092"))?;
    if host.is_empty() {
        return Err(format!("\"{entry}\" has no host; write host:port"));
    }
    if let Some(bad) = host.chars().find(|c| c.is_whitespace() || c.is_control() || "/@[]?#;\"'".contains(*c)) {
        return Err(format!(
            "\"{host}\" cannot be a host name because of {bad:?}; write host:port, separated by commas"
        ));
    }
    Ok((host.to_owned(), parse_port(entry, port)?))
}

fn parse_port(entry: &str, port: &str) -> Result<u16, String> {
    let digits = !port.is_empty() && port.bytes().all(|byte| byte.is_ascii_digit());
    match port.parse() {
        Ok(number) if digits && number != 0 => Ok(number),
        _ => Err(format!("\"{port}\" in \"{entry}\" is not a port; ports are 1 to 65535")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn problem(text: &str) -> String {
        let (_, problems) = parse(text);
        assert!(!problems.is_empty(), "{text} was accepted");
        problems.join(", ")
    }

    #[test]
    fn names_addresses_and_ports_are_read_each_once_in_order() {
        let (servers, problems) = parse("b2:9093, b1.example.com:9092 ,[::1]:9094,10.0.0.1:1,b2:9093,[fe80::1%eth0]:5");

        let expected = [("b2", 9093), ("b1.example.com", 9092), ("::1", 9094), ("10.0.0.1", 1), ("fe80::1%eth0", 5)];
        assert_eq!(servers, expected.map(|(host, port)| (host.to_owned(), port)));
        assert_eq!(problems, Vec::<String>::new());
        assert_eq!(
            servers.shown().as_deref(),
            Some("b2:9093,b1.example.com:9092,[::1]:9094,10.0.0.1:1,[fe80::1%eth0]:5")
        );
    }

    #[test]
    fn each_mistake_is_named_at_its_position_with_the_remedy() {
        for (text, position, part) in [
            ("localhost", 1, "has no port; write localhost:9092"),
            ("a:1, b", 6, "\"b\" has no port"),
            ("a:1,", 5, "remove the comma"),
            (",a:1", 1, "remove the comma"),
            ("a:1,,b:2", 5, "remove the comma"),
            ("http://a:9092", 1, "write \"a:9092\""),
            ("a:1,PLAINTEXT://b:9092", 5, "write \"b:9092\""),
            ("::1:9092", 1, "[address]:port"),
            ("2001:db8::5", 1, "[address]:port"),
            ("[::1]", 1, "write [::1]:9092"),
            ("[::1:9092", 1, "closing bracket"),
            ("[b1]:9092", 1, "not an ipv6 address"),
            ("a:", 1, "not a port"),
            ("a:0", 1, "not a port"),
            ("a:+1", 1, "not a port"),
            ("a:65536", 1, "1 to 65535"),
            ("ä:1,a:kafka", 5, "\"kafka\" in \"a:kafka\" is not a port"),
            (":9092", 1, "has no host"),
            ("a/b:9092", 1, "'/'"),
            ("a:1 b:2", 1, "several colons"),
            ("a b:2", 1, "separated by commas"),
        ] {
            let problem = problem(text);
            assert!(
                problem.starts_with(&format!("at position {position}: ")) && problem.contains(part),
                "{text}: {problem}"
            );
        }
        assert!(problem(" ").contains("the list is empty"));
        assert!(problem("a,b").contains("at position 1: \"a\"") && problem("a,b").contains("at position 3: \"b\""));
    }
}
