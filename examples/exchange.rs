//! Converts purchases into euros: an operator that asks a service for the rate of each one, many at a time.
//!
//! ```text
//! cargo run --example exchange -- run examples/exchange.toml
//! cat out/exchange/*                     # "ada 1104", "ben 468", ...
//! ```
//!
//! The service stands in for one of yours: it runs in this program, on a port of its own.

use std::fmt;
use std::io::{BufRead, BufReader, Write};
use std::net::{TcpListener, TcpStream};
use std::process::ExitCode;
use std::str::FromStr;
use std::sync::{Arc, LazyLock};

use piton::files::{LineSinkKind, LineSourceKind};
use piton::prelude::*;
use serde::{Deserialize, Serialize};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

/// Asks for the rate of each purchase. How many at a time, how long and how often is said in the topology file.
#[derive(Clone, Deserialize)]
struct InEuros {
    /// Host and port of the service; that of this program, if it is left out.
    service: Option<String>,
}

impl AsyncOperator for InEuros {
    type In = Purchase;
    type Out = Spent;

    async fn ask(&self, purchase: &Purchase) -> Result<Vec<Spent>> {
        // What cannot be reached is asked again, a little later each time.
        let unavailable = |error: std::io::Error| Error::unavailable(error.to_string());
        let address = self.service.as_ref().unwrap_or(&SERVICE);
        let mut service = tokio::net::TcpStream::connect(address).await.map_err(unavailable)?;
        service.write_all(format!("{}\n", purchase.currency).as_bytes()).await.map_err(unavailable)?;
        let mut answer = String::new();
        service.read_to_string(&mut answer).await.map_err(unavailable)?;
        // What makes no sense will make none the next time: the purchase is set aside as a dead letter.
        let rate: f64 = answer.trim().parse().map_err(|_| Error::poison(format!("the service says {answer:?}")))?;
        let cents = (purchase.cents as f64 * rate).round() as u64;
        Ok(vec![Spent { user: purchase.user.clone(), cents }])
    }
}

/// A purchase, from a line such as `ada 1200 USD`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, Record)]
struct Purchase {
    user: String,
    cents: u64,
    currency: String,
}

impl FromStr for Purchase {
    type Err = String;

    fn from_str(line: &str) -> std::result::Result<Purchase, String> {
        let wrong = || format!("\"{line}\" is not of the form \"ada 1200 USD\"");
        let [user, cents, currency] = line.split(' ').collect::<Vec<_>>()[..] else { return Err(wrong()) };
        Ok(Purchase { user: user.into(), cents: cents.parse().map_err(|_| wrong())?, currency: currency.into() })
    }
}

/// What a user has spent, in cents of a euro.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, Record)]
struct Spent {
    user: String,
    cents: u64,
}

impl fmt::Display for Spent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.user, self.cents)
    }
}

/// Where the service is that this program runs.
static SERVICE: LazyLock<String> = LazyLock::new(|| {
    let listener = TcpListener::bind("127.0.0.1:0").expect("there is a free port");
    let address = listener.local_addr().expect("it has an address").to_string();
    std::thread::spawn(move || {
        for stream in listener.incoming().map_while(std::io::Result::ok) {
            std::thread::spawn(move || answer(&stream));
        }
    });
    address
});

/// Says what a unit of a currency is worth in euros.
fn answer(mut stream: &TcpStream) -> std::io::Result<()> {
    let mut currency = String::new();
    BufReader::new(stream).read_line(&mut currency)?;
    let rate = match currency.trim() {
        "EUR" => "1",
        "USD" => "0.92",
        "GBP" => "1.17",
        "CHF" => "1.04",
        _ => "unknown",
    };
    writeln!(stream, "{rate}")
}

fn registry() -> piton::Registry {
    let mut registry = piton::Registry::stock();
    registry.async_operator::<InEuros>("in_euros");
    registry.add_source_kind("purchases", Arc::new(LineSourceKind::<Purchase>::default()));
    registry.add_sink_kind("spent", Arc::new(LineSinkKind::<Spent>::default()));
    registry
}

fn main() -> ExitCode {
    piton::cli::main(registry())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_job_survives_whatever_a_seed_can_think_of() {
        piton::sim::check("examples/exchange.toml", &registry(), 200);
    }
}
