//! Who may ask: decided from the head of a request alone.
//!
//! With a token, whoever shows it. Without one the server is on loopback, where everybody on the machine may ask; what has
//! to be kept out are pages of other sites in somebody's browser, which can send requests to loopback too. Their requests
//! name another origin, or, if the site's name was made to lead here, another host.

use std::net::{IpAddr, Ipv6Addr};

use subtle::ConstantTimeEq as _;

/// See the module.
#[derive(Clone, Debug)]
pub(super) struct Gate {
    token: Option<String>,
}

/// What of a request says who sends it.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Sender<'a> {
    pub(super) host: Option<&'a str>,
    pub(super) origin: Option<&'a str>,
    /// What a browser says of the page that sends it: `Sec-Fetch-Site`.
    pub(super) site: Option<&'a str>,
    pub(super) authorization: Option<&'a str>,
}

/// Why a request is not answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Refused {
    /// The token is missing or wrong.
    Token,
    /// The host is none.
    Malformed,
    /// The host is not one that leads here without detours.
    Host,
    /// It comes from a page of another site.
    Origin,
}

impl Refused {
    pub(super) fn status(self) -> u16 {
        match self {
            Refused::Token => 401,
            Refused::Malformed => 400,
            Refused::Host | Refused::Origin => 403,
        }
    }

    pub(super) fn reason(self) -> &'static str {
        match self {
            Refused::Token => "a token is needed: send \"Authorization: Bearer TOKEN\", with the token of http.token",
            Refused::Malformed => "the header \"Host\" is no name or address, with a port or without",
            Refused::Host => "this host name is not answered without a token: ask for localhost or 127.0.0.1",
            Refused::Origin => "requests of pages of other sites are not answered",
        }
    }
}

impl Gate {
    /// Lets in who shows this token; everybody on the machine, if there is none.
    pub(super) fn new(token: Option<String>) -> Gate {
        Gate { token: token.filter(|token| !token.is_empty()) }
    }

    /// Decides on a request. What is open to all is the page itself, which holds nothing of the job.
    ///
    /// # Errors
    /// Why it is refused.
    pub(super) fn admit(&self, sender: Sender<'_>, is_open: bool) -> Result<(), Refused> {
        if sender.host.is_some_and(|host| name_of(host).is_none()) {
            return Err(Refused::Malformed);
        }
        if let Some(token) = &self.token {
            if !is_open && !sender.authorization.is_some_and(|shown| is_token(shown, token)) {
                return Err(Refused::Token);
            }
        } else if !sender.host.is_some_and(is_local) {
            return Err(Refused::Host);
        }
        let is_other_site = sender.site.is_some_and(|site| !["same-origin", "none"].contains(&site));
        let is_other_origin = sender.origin.is_some_and(|origin| {
            let host = origin.split_once("://").map(|(_, host)| host);
            host.is_none() || host != sender.host
        });
        if !is_open && (is_other_site || is_other_origin) {
            return Err(Refused::Origin);
        }
        Ok(())
    }
}

/// Compares without telling by its time how much of it is right.
fn is_token(authorization: &str, token: &str) -> bool {
    let Some((scheme, shown)) = authorization.split_once(' ') else { return false };
    scheme.eq_ignore_ascii_case("bearer") && bool::from(shown.trim().as_bytes().ct_eq(token.as_bytes()))
}

/// Returns whether a host, with or without a port, is this machine by its own name for itself.
fn is_local(host: &str) -> bool {
    let Some(name) = name_of(host) else { return false };
    name.eq_ignore_ascii_case("localhost") || name.parse().is_ok_and(|address: IpAddr| address.is_loopback())
}

/// Returns the name or address of a host, without its port; nothing if it is none.
fn name_of(host: &str) -> Option<&str> {
    let (name, port) = match host.strip_prefix('[') {
        Some(rest) => {
            let (address, port) = rest.split_once(']')?;
            address.parse::<Ipv6Addr>().ok()?;
            (address, port)
        }
        None => {
            let (name, port) = host.split_at(host.find(':').unwrap_or(host.len()));
            let is_name = |byte: u8| byte.is_ascii_alphanumeric() || b"-._".contains(&byte);
            if name.is_empty() || !name.bytes().all(is_name) {
                return None;
            }
            (name, port)
        }
    };
    let is_port = |port: &str| port.bytes().all(|byte| byte.is_ascii_digit()) && port.parse::<u16>().is_ok();
    (port.is_empty() || port.strip_prefix(':').is_some_and(is_port)).then_some(name)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn from(host: &str) -> Sender<'_> {
        Sender { host: Some(host), ..Sender::default() }
    }

    #[test]
    fn on_loopback_everybody_may_ask_who_asks_for_it_by_name() {
        let gate = Gate::new(None);
        for host in ["localhost", "LOCALHOST:8080", "127.0.0.1:8080", "127.1.2.3", "[::1]:8080", "[::1]"] {
            assert_eq!(gate.admit(from(host), false), Ok(()), "{host}");
        }
        for host in ["evil.example", "evil.example:8080", "10.0.0.1:8080", "localhost.evil.example", "[::2]:80"] {
            assert_eq!(gate.admit(from(host), false), Err(Refused::Host), "{host}");
            assert_eq!(gate.admit(from(host), true), Err(Refused::Host), "{host}");
        }
        assert_eq!(gate.admit(Sender::default(), false), Err(Refused::Host));
    }

    #[test]
    fn what_is_no_host_is_told_so_with_a_token_and_without() {
        for gate in [Gate::new(None), Gate::new(Some("secret".into()))] {
            for host in [
                "",
                ":8080",
                "localhost:",
                "localhost:abc",
                "localhost:99999",
                "localhost:+80",
                "127.0.0.1:18080@evil.com",
                "evil.com@localhost",
                "a b",
                "::1",
                "[::1",
                "[::1]8080",
                "[::1]:",
                "[evil]:80",
            ] {
                assert_eq!(gate.admit(from(host), true), Err(Refused::Malformed), "{host}");
            }
        }
    }

    #[test]
    fn pages_of_other_sites_are_kept_out() {
        let gate = Gate::new(None);
        let with = |origin, site| Sender { origin, site, ..from("localhost:8080") };
        for (origin, site) in [
            (None, None),
            (Some("http://localhost:8080"), Some("same-origin")),
            (None, Some("none")),
            (Some("https://localhost:8080"), None),
        ] {
            assert_eq!(gate.admit(with(origin, site), false), Ok(()), "{origin:?} {site:?}");
        }
        for (origin, site) in [
            (Some("http://evil.example"), None),
            (Some("http://localhost:9090"), None),
            (Some("null"), None),
            (None, Some("cross-site")),
            (None, Some("same-site")),
        ] {
            assert_eq!(gate.admit(with(origin, site), false), Err(Refused::Origin), "{origin:?} {site:?}");
        }
        assert_eq!(gate.admit(with(None, Some("cross-site")), true), Ok(()), "a link to the page is one to follow");
    }

    #[test]
    fn a_token_is_needed_where_there_is_one() {
        let gate = Gate::new(Some("secret".into()));
        let with = |authorization| Sender { authorization, ..from("piton.example:8080") };
        for authorization in [Some("Bearer secret"), Some("bearer  secret ")] {
            assert_eq!(gate.admit(with(authorization), false), Ok(()), "{authorization:?}");
        }
        for wrong in
            [None, Some("secret"), Some("Bearer"), Some("Bearer secre"), Some("Bearer secrets"), Some("Basic secret")]
        {
            assert_eq!(gate.admit(with(wrong), false), Err(Refused::Token), "{wrong:?}");
        }
        assert_eq!(gate.admit(with(None), true), Ok(()), "the page asks for it");
        assert_eq!(Gate::new(Some(String::new())).admit(from("localhost"), false), Ok(()));
    }
}
