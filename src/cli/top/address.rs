//! Where a job answers: what its topology file says, or a URL.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use percent_encoding::{NON_ALPHANUMERIC, percent_decode_str, utf8_percent_encode};

use crate::cli::args::TopArgs;
use crate::cli::client::{Server, Trust};
use crate::error::{Error, Result};
use crate::topology::Registry;

/// The variable that holds a token for a URL, as it sets the option of a topology file.
const TOKEN: &str = "PITON__HTTP__TOKEN";
/// What sets it on the command line.
const SET_TOKEN: &str = "http.token=";

/// Where a job answers, and to whom.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Address {
    pub(super) server: Server,
    /// Whose certificates are believed, if it shows one.
    pub(super) trust: Trust,
    pub(super) token: Option<String>,
    /// The name of the job, if it is known.
    pub(super) job: Option<String>,
}

impl Address {
    /// Returns where the job of a command line answers, and what is odd about its topology file.
    ///
    /// # Errors
    /// Of kind `Config` if that is not said.
    pub(super) fn of(args: &TopArgs, registry: &Registry) -> Result<(Address, Vec<String>)> {
        if let Some(url) = args.url() {
            let mut address = Address::of_url(url)?;
            let set = args.job.over.set.iter().rev().find_map(|set| set.strip_prefix(SET_TOKEN));
            let token = set.map(|token| token.trim_matches('"').to_string());
            address.token = token.or_else(|| std::env::var(TOKEN).ok()).filter(|token| !token.is_empty());
            return Ok((address, Vec::new()));
        }
        let plan = args.job.plan(registry)?;
        let file = args.job.file().display();
        let Some(listen) = plan.settings.http.listen else {
            return Err(Error::config(format!(
                "{file} does not say where the job answers: set `listen` in [http], or give the URL that `piton run --http` says"
            )));
        };
        if listen.0.port() == 0 {
            return Err(Error::config(format!(
                "{file}: `listen` in [http] is any free port: give the URL that `piton run` says"
            )));
        }
        // Whoever listens everywhere listens here.
        let ip = match listen.0.ip() {
            IpAddr::V4(ip) if ip.is_unspecified() => IpAddr::V4(Ipv4Addr::LOCALHOST),
            IpAddr::V6(ip) if ip.is_unspecified() => IpAddr::V6(Ipv6Addr::LOCALHOST),
            ip => ip,
        };
        let host = std::net::SocketAddr::new(ip, listen.0.port()).to_string();
        let job = Some(plan.settings.job.name.clone());
        let certificate = plan.settings.http.tls.as_ref().map(|tls| tls.certificate.clone());
        let server = Server { host, is_secure: certificate.is_some() };
        let trust = certificate.map_or(Trust::System, Trust::File);
        Ok((Address { server, trust, token: plan.settings.http.token.clone(), job }, plan.warnings))
    }

    /// Reads a URL: of a server, or of one of its jobs.
    fn of_url(url: &str) -> Result<Address> {
        let wrong = |why: &str| Error::config(format!("\"{url}\" {why}: write http://HOST:PORT"));
        let (server, path) = Server::of(url).map_err(wrong)?;
        let job = match path.trim_end_matches('/') {
            "" => None,
            path => {
                let name = path.strip_prefix("/api/jobs/").filter(|name| !name.contains(['/', '?', '#']));
                let name = name.and_then(|name| percent_decode_str(name).decode_utf8().ok());
                Some(name.ok_or_else(|| wrong("is neither a server's nor a job's"))?.into_owned())
            }
        };
        Ok(Address { server, trust: Trust::System, token: None, job })
    }
}

/// Returns a name as a part of a path.
pub(super) fn encoded(name: &str) -> String {
    utf8_percent_encode(name, NON_ALPHANUMERIC).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn urls_are_of_servers_and_of_jobs() {
        let of = |url: &str| Address::of_url(url).map(|address| (address.server.url(), address.job)).ok();
        let server = |url: &str| Some((url.to_string(), None));
        assert_eq!(of("http://127.0.0.1:8080"), server("http://127.0.0.1:8080"));
        assert_eq!(of("http://localhost:8080/"), server("http://localhost:8080"));
        assert_eq!(of("http://[::1]:8080/"), server("http://[::1]:8080"));
        assert_eq!(of("http://piton.example"), server("http://piton.example:80"));
        assert_eq!(
            of("http://localhost:8080/api/jobs/my%20job"),
            Some(("http://localhost:8080".into(), Some("my job".into())))
        );
        assert_eq!(of("https://piton.example"), server("https://piton.example:443"));
        for wrong in ["ftp://a:1", "http://", "http:///x", "http://a@b:1", "http://a:1/x", "http://a:1/api/jobs/a/b"] {
            assert_eq!(of(wrong), None, "{wrong}");
        }
    }
}
