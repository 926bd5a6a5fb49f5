//! The sockets: requests come in here, and go out as what the other modules decide.

use std::io;
use std::net::{SocketAddr, TcpListener};
use std::sync::{Arc, mpsc};
use std::thread::JoinHandle;
use std::time::Duration;

use actix_web::dev::ServerHandle;
use actix_web::http::StatusCode;
use actix_web::http::header::{self, HeaderMap, HeaderName};
use actix_web::web::{self, Bytes, Data};
use actix_web::{App, HttpRequest, HttpResponse, HttpServer};
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

use crate::config::HttpSettings;
use crate::error::{Error, Result};
use crate::http::gate::{Gate, Sender};
use crate::http::jobs::{Jobs, Order, Said};
use crate::http::query::Query;
use crate::http::route::{Act, Astray, OPEN_API, Route, What, route};
use crate::http::shares;
use crate::http::tls::Tls;
use crate::runtime::{Metrics, Request};
use crate::store::check_savepoint_name;

/// How long somebody who connects may take for the head of a request.
const PATIENCE: Duration = Duration::from_secs(5);
/// How long a connection that is not used is kept.
const KEPT: Duration = Duration::from_secs(15);
/// How many connections there may be at most: more wait until there are fewer.
const CONNECTIONS: usize = 256;
/// They may take this part of the files that the process may have open, at most: the rest is the job's.
const OF_FILES: u64 = 4;
/// The longest body.
const LONGEST: usize = 64 << 10;
/// How long answers that are under way when the job ends may take, in s.
const LAST: u64 = 2;

/// An address that is taken, and on which nobody is answered yet.
#[derive(Debug)]
pub struct Bound {
    listener: TcpListener,
    token: Option<String>,
    tls: Option<Tls>,
}

impl Bound {
    /// Takes the address of the settings, if they have one.
    ///
    /// # Errors
    /// Of kind `Config` if it cannot be had, or its certificate or key cannot be used.
    pub fn to(settings: &HttpSettings) -> Result<Option<Bound>> {
        let Some(listen) = settings.listen else { return Ok(None) };
        let tls = settings.tls.as_ref().map(Tls::read).transpose()?;
        let unlistenable = |error| Error::config(format!("http.listen: cannot listen on {}: {error}", listen.0));
        let listener = TcpListener::bind(listen.0).map_err(unlistenable)?;
        Ok(Some(Bound { listener, token: settings.token.clone(), tls }))
    }
}

/// Answers until it is dropped.
pub struct Server {
    address: SocketAddr,
    scheme: &'static str,
    handle: ServerHandle,
    thread: Option<JoinHandle<()>>,
}

impl Server {
    /// Begins to answer.
    ///
    /// # Errors
    /// Of kind `Failed` if the system does not let us.
    pub fn start(bound: Bound, jobs: Arc<dyn Jobs>) -> Result<Server> {
        let failed = |error: io::Error| Error::failed(format!("the HTTP server could not be started: {error}"));
        let address = bound.listener.local_addr().map_err(failed)?;
        let scheme = if bound.tls.is_some() { "https" } else { "http" };
        let (tell, told) = mpsc::channel();
        let serve = move || actix_web::rt::System::new().block_on(serve(bound, jobs, &tell));
        let thread = std::thread::Builder::new().name("piton-http".into()).spawn(serve).map_err(failed)?;
        let handle = told.recv().map_err(io::Error::other).and_then(|told| told).map_err(failed)?;
        Ok(Server { address, scheme, handle, thread: Some(thread) })
    }

    /// Returns where its page is.
    pub fn url(&self) -> String {
        format!("{}://{}/", self.scheme, self.address)
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // What is asked of it is done even if nobody waits for it.
        drop(self.handle.stop(true));
        if let Some(thread) = self.thread.take() {
            thread.join().ok();
        }
    }
}

async fn serve(bound: Bound, jobs: Arc<dyn Jobs>, tell: &mpsc::Sender<io::Result<ServerHandle>>) {
    let gate = Data::new(Gate::new(bound.token));
    let shown = Data::from(Arc::clone(&jobs));
    let app =
        move || App::new().app_data(Data::clone(&gate)).app_data(Data::clone(&shown)).default_service(web::to(answer));
    let server = HttpServer::new(app)
        .workers(1)
        .max_connections(connections())
        .client_request_timeout(PATIENCE)
        .keep_alive(KEPT)
        .shutdown_timeout(LAST)
        .disable_signals();
    let server = match bound.tls {
        #[cfg(feature = "tls")]
        Some(Tls(config)) => server.tls_handshake_timeout(PATIENCE).listen_rustls_0_23(bound.listener, config),
        #[cfg(not(feature = "tls"))]
        Some(tls) => match tls {},
        None => server.listen(bound.listener),
    };
    let server = match server {
        Ok(server) => server.run(),
        Err(error) => return drop(tell.send(Err(error))),
    };
    tell.send(Ok(server.handle())).ok();
    let shown = Arc::clone(&jobs);
    let looking = actix_web::rt::spawn(async move {
        let mut often = actix_web::rt::time::interval(shares::EVERY);
        for look in 1_u64.. {
            often.tick().await;
            for job in shown.begun() {
                job.look();
                if look % shares::A_SECOND == 0 {
                    job.write_history();
                }
            }
        }
    });
    if let Err(error) = server.await {
        tracing::warn!(%error, "the HTTP server has ended");
    }
    looking.abort();
    jobs.begun().iter().for_each(|job| job.write_history());
}

/// What may be in the body of a request for a savepoint.
#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct SavepointOrder {
    /// Its name.
    name: Option<String>,
}

/// What may be in the body of a request to stop.
#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct StopOrder {
    /// The savepoint that it is to leave.
    savepoint: Option<String>,
    /// Whether the input is to end first.
    drain: bool,
}

/// Returns how many connections there may be.
fn connections() -> usize {
    let files = rustix::process::getrlimit(rustix::process::Resource::Nofile).current;
    let share = files.map_or(CONNECTIONS, |files| usize::try_from(files / OF_FILES).unwrap_or(CONNECTIONS));
    share.clamp(1, CONNECTIONS)
}

async fn answer(request: HttpRequest, payload: web::Payload, jobs: Data<dyn Jobs>, gate: Data<Gate>) -> HttpResponse {
    let said = |name: HeaderName| said(request.headers(), &name);
    let found = route(request.method().as_str(), request.path());
    let sender = Sender {
        host: said(header::HOST),
        origin: said(header::ORIGIN),
        site: said(HeaderName::from_static("sec-fetch-site")),
        authorization: said(header::AUTHORIZATION),
    };
    if let Err(refused) = gate.admit(sender, matches!(found, Ok(Route::Asset(_)))) {
        return error(refused.status(), refused.reason());
    }
    match found {
        Err(Astray::NotFound) => error(404, "there is nothing here; the jobs are at /api/jobs"),
        Err(Astray::Method(methods)) => {
            let mut answer = error(405, &format!("this is answered to {methods}"));
            answer.headers_mut().insert(header::ALLOW, header::HeaderValue::from_static(methods));
            answer
        }
        Ok(Route::Asset(asset)) => HttpResponse::Ok()
            .content_type(asset.content_type)
            .insert_header((header::CONTENT_SECURITY_POLICY, "default-src 'self'; frame-ancestors 'none'"))
            .insert_header((header::X_CONTENT_TYPE_OPTIONS, "nosniff"))
            .insert_header((header::CACHE_CONTROL, "no-cache"))
            .body(asset.content),
        Ok(Route::Metrics) => match Metrics::text_of(jobs.begun().iter().map(|job| job.counted())) {
            Ok(text) => HttpResponse::Ok().content_type("text/plain; version=0.0.4; charset=utf-8").body(text),
            Err(unwritable) => error(500, &unwritable.to_string()),
        },
        Ok(Route::OpenApi) => text_of(200, OPEN_API.to_string()),
        Ok(Route::Jobs) => json_of(200, &json!({ "jobs": jobs.list() })),
        Ok(Route::Of { job, what }) => match Query::read(request.query_string(), what.query()) {
            Ok(query) => of_job(jobs, job, what, query).await,
            Err(unclear) => error(400, &unclear),
        },
        Ok(Route::Delete { job }) => carry_out(jobs, Order::Delete { job }).await,
        Ok(order) => match body_of(payload).await.and_then(|body| order_of(order, &body)) {
            Ok(order) => carry_out(jobs, order).await,
            Err((status, reason)) => error(status, &reason),
        },
    }
}

/// Answers a question about a job.
async fn of_job(jobs: Data<dyn Jobs>, name: String, what: What, query: Query) -> HttpResponse {
    let job = match jobs.find(&name) {
        Ok(job) => job,
        Err((status, said)) => return json_of(status, &said),
    };
    if what.needs_the_job()
        && let Some((status, said)) = job.is_over()
    {
        return json_of(status, &said);
    }
    let read = match what {
        What::Savepoints => {
            return carry_out(jobs, Order::Do { job: name, request: Request::Savepoints }).await;
        }
        // These read files.
        What::DeadLetters => web::block(move || job.stored().read(|stored| stored.letters(&query))).await,
        What::States => {
            web::block(move || job.stored().read(|stored| stored.states().map(|said| said.to_string()))).await
        }
        What::State { operator } => {
            web::block(move || job.stored().read(|stored| stored.state(&operator, &query).map(|said| said.to_string())))
                .await
        }
        what => {
            return match job.answer(&what, query.get("region")) {
                Ok(answer) => json_of(200, &answer),
                Err((status, reason)) => error(status, &reason),
            };
        }
    };
    match read {
        Ok(Ok(answer)) => text_of(200, answer),
        Ok(Err((status, reason))) => error(status, &reason),
        Err(failed) => error(503, &failed.to_string()),
    }
}

fn said<'a>(headers: &'a HeaderMap, name: &HeaderName) -> Option<&'a str> {
    headers.get(name).and_then(|value| value.to_str().ok())
}

/// A status and a reason.
type Unclear = (u16, String);

/// Reads a body, which nobody is waited for to send.
async fn body_of(payload: web::Payload) -> std::result::Result<Bytes, Unclear> {
    match actix_web::rt::time::timeout(PATIENCE, payload.to_bytes_limited(LONGEST)).await {
        Ok(Ok(Ok(body))) => Ok(body),
        Ok(Ok(Err(error))) => Err((400, format!("the body cannot be read: {error}"))),
        Ok(Err(_)) => Err((413, format!("the body is longer than {LONGEST} bytes"))),
        Err(_) => Err((408, "the body did not come".into())),
    }
}

/// Returns what is to be done.
///
/// # Errors
/// If the body does not say it.
fn order_of(route: Route, body: &[u8]) -> std::result::Result<Order, Unclear> {
    let text = || {
        let text = std::str::from_utf8(body).map_err(|_| (400, "the topology is not UTF-8 text".to_string()))?;
        if text.trim().is_empty() {
            return Err((400, "the body is to be the text of a topology file".to_string()));
        }
        Ok(text.to_string())
    };
    match route {
        Route::Submit => Ok(Order::Submit { text: text()? }),
        Route::Upgrade { job } => Ok(Order::Upgrade { job, text: text()? }),
        Route::Do { job, act } => Ok(Order::Do { job, request: request_of(act, body)? }),
        Route::Asset(_) | Route::Metrics | Route::OpenApi | Route::Jobs | Route::Of { .. } | Route::Delete { .. } => {
            unreachable!("these have no body")
        }
    }
}

/// Returns what is asked of the job.
///
/// # Errors
/// If the body does not say it.
fn request_of(act: Act, body: &[u8]) -> std::result::Result<Request, Unclear> {
    let named = |name: Option<String>| match &name {
        Some(given) => check_savepoint_name(given).map(|()| name).map_err(|reason| (400, reason)),
        None => Ok(None),
    };
    match act {
        Act::Savepoint => Ok(Request::Savepoint { name: named(order::<SavepointOrder>(body)?.name)? }),
        Act::Stop => {
            let StopOrder { savepoint, drain } = order(body)?;
            Ok(Request::Stop { savepoint: named(savepoint)?, drain })
        }
        Act::Cancel => Ok(Request::Cancel),
    }
}

/// Reads an object, or nothing.
fn order<T: Default + DeserializeOwned>(body: &[u8]) -> std::result::Result<T, Unclear> {
    // What JSON takes for spaces: a form feed is none.
    if body.iter().all(|byte| b" \t\r\n".contains(byte)) {
        return Ok(T::default());
    }
    let unclear = |error: serde_json::Error| (400, format!("the body cannot be understood: {error}"));
    // An array of the values would do, too, but is rather something else.
    let object: serde_json::Map<String, Value> = serde_json::from_slice(body).map_err(unclear)?;
    serde_json::from_value(Value::Object(object)).map_err(unclear)
}

/// Has it carried out, on a thread that may wait.
async fn carry_out(jobs: Data<dyn Jobs>, order: Order) -> HttpResponse {
    let (status, said): Said = match web::block(move || jobs.order(order)).await {
        Ok(said) => said,
        Err(failed) => return error(503, &failed.to_string()),
    };
    let mut answer = json_of(status, &said);
    if status == 405 {
        answer.headers_mut().insert(header::ALLOW, header::HeaderValue::from_static("GET, HEAD"));
    }
    answer
}

fn error(status: u16, reason: &str) -> HttpResponse {
    json_of(status, &json!({ "error": reason }))
}

fn json_of(status: u16, value: &Value) -> HttpResponse {
    text_of(status, value.to_string())
}

/// Answers with a text that is JSON.
fn text_of(status: u16, json: String) -> HttpResponse {
    let status = StatusCode::from_u16(status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    let mut answer = HttpResponse::build(status);
    if status == StatusCode::UNAUTHORIZED {
        answer.insert_header((header::WWW_AUTHENTICATE, "Bearer"));
    }
    answer
        .insert_header((header::CACHE_CONTROL, "no-store"))
        .insert_header((header::X_CONTENT_TYPE_OPTIONS, "nosniff"))
        .content_type("application/json")
        .body(json)
}
