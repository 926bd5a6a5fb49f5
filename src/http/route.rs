//! What a request means: decided from its method and its path.

use percent_encoding::percent_decode_str;

use crate::http::query::number;

/// What is asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Route {
    /// The page, or something that it is made of.
    Asset(&'static Asset),
    /// The metrics.
    Metrics,
    /// What there is to ask for, as OpenAPI has it.
    OpenApi,
    /// All jobs.
    Jobs,
    /// Something of a job.
    Of { job: String, what: What },
    /// A new job is to run.
    Submit,
    /// A job is to go on with another topology.
    Upgrade { job: String },
    /// A job is to be forgotten.
    Delete { job: String },
    /// A job is to do something.
    Do { job: String, act: Act },
}

/// What is asked of a job.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum What {
    Job,
    Checkpoints,
    Config,
    Checkpoint {
        window: u64,
    },
    Operator {
        window: u64,
        operator: String,
    },
    Savepoints,
    Exceptions,
    /// A page of what was set aside.
    DeadLetters,
    /// What operators keep.
    States,
    /// A page of what one of them keeps.
    State {
        operator: String,
    },
}

impl What {
    /// Returns whether the job has to run for an answer.
    pub(super) fn needs_the_job(&self) -> bool {
        matches!(self, What::Savepoints)
    }

    /// Returns what may stand behind the `?`.
    pub(super) fn query(&self) -> &'static [&'static str] {
        match self {
            What::Checkpoint { .. } | What::Operator { .. } => &["region"],
            What::DeadLetters => &["region", "limit", "from"],
            What::State { .. } => &["key", "limit", "offset"],
            What::Job | What::Checkpoints | What::Config | What::Savepoints | What::Exceptions | What::States => &[],
        }
    }
}

/// What a job is asked to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Act {
    Savepoint,
    Stop,
    Cancel,
}

/// A file of the page.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Asset {
    pub(super) path: &'static str,
    pub(super) content_type: &'static str,
    pub(super) content: &'static str,
}

const ASSETS: &[Asset] = &[
    Asset { path: "/", content_type: "text/html; charset=utf-8", content: include_str!("page/index.html") },
    Asset { path: "/icon.svg", content_type: "image/svg+xml", content: include_str!("page/icon.svg") },
    Asset { path: "/page.css", content_type: "text/css; charset=utf-8", content: include_str!("page/page.css") },
    script("/checkpoints.js", include_str!("page/checkpoints.js")),
    script("/dom.js", include_str!("page/dom.js")),
    script("/stored.js", include_str!("page/stored.js")),
    script("/graph.js", include_str!("page/graph.js")),
    script("/history.js", include_str!("page/history.js")),
    script("/jobs.js", include_str!("page/jobs.js")),
    script("/page.js", include_str!("page/page.js")),
    script("/panels.js", include_str!("page/panels.js")),
    script("/views.js", include_str!("page/views.js")),
    script("/words.js", include_str!("page/words.js")),
];

/// What there is to ask for.
pub(super) const OPEN_API: &str = include_str!("openapi.json");

const fn script(path: &'static str, content: &'static str) -> Asset {
    Asset { path, content_type: "text/javascript; charset=utf-8", content }
}

/// Why there is no answer to a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Astray {
    /// There is nothing of this path.
    NotFound,
    /// There is, but not by this method; these are the ones.
    Method(&'static str),
}

/// Returns what is asked for.
///
/// # Errors
/// If there is no such thing.
pub(super) fn route(method: &str, path: &str) -> Result<Route, Astray> {
    let is_get = ["GET", "HEAD"].contains(&method);
    let get = |route| if is_get { Ok(route) } else { Err(Astray::Method("GET, HEAD")) };
    if let Some(asset) = ASSETS.iter().find(|asset| asset.path == path) {
        return get(Route::Asset(asset));
    }
    let parts: Option<Vec<String>> = path.strip_prefix('/').unwrap_or_default().split('/').map(decoded).collect();
    let parts = parts.ok_or(Astray::NotFound)?;
    let parts: Vec<&str> = parts.iter().map(String::as_str).collect();
    let (job, rest) = match &parts[..] {
        ["metrics"] => return get(Route::Metrics),
        ["api", "openapi.json"] => return get(Route::OpenApi),
        ["api", "jobs"] if method == "POST" => return Ok(Route::Submit),
        ["api", "jobs"] if is_get => return Ok(Route::Jobs),
        ["api", "jobs"] => return Err(Astray::Method("GET, HEAD, POST")),
        ["api", "jobs", job] if method == "DELETE" && !job.is_empty() => {
            return Ok(Route::Delete { job: job.to_string() });
        }
        ["api", "jobs", job, rest @ ..] if !job.is_empty() => (job.to_string(), rest),
        _ => return Err(Astray::NotFound),
    };
    let window = |text: &str| number(text).ok_or(Astray::NotFound);
    let what = match rest {
        [] if !is_get => return Err(Astray::Method("GET, HEAD, DELETE")),
        [] => What::Job,
        ["checkpoints"] => What::Checkpoints,
        ["checkpoints", "config"] => What::Config,
        ["checkpoints", id] => What::Checkpoint { window: window(id)? },
        ["checkpoints", id, "operators", operator] => {
            What::Operator { window: window(id)?, operator: operator.to_string() }
        }
        ["exceptions"] => What::Exceptions,
        ["deadletters"] => What::DeadLetters,
        ["state"] => What::States,
        ["state", operator] if !operator.is_empty() => What::State { operator: operator.to_string() },
        ["savepoints"] if is_get => What::Savepoints,
        // As Flink has it; and there is a list of them.
        ["savepoints"] => return act(method, "GET, HEAD, POST", job, Act::Savepoint),
        ["savepoint"] => return act(method, "POST", job, Act::Savepoint),
        ["upgrade"] if method == "POST" => return Ok(Route::Upgrade { job }),
        ["upgrade"] => return Err(Astray::Method("POST")),
        ["stop"] => return act(method, "POST", job, Act::Stop),
        ["cancel"] => return act(method, "POST", job, Act::Cancel),
        _ => return Err(Astray::NotFound),
    };
    get(Route::Of { job, what })
}

fn act(method: &str, methods: &'static str, job: String, act: Act) -> Result<Route, Astray> {
    if method == "POST" { Ok(Route::Do { job, act }) } else { Err(Astray::Method(methods)) }
}

/// Returns a part of a path as it is meant; nothing if it is not Unicode.
fn decoded(part: &str) -> Option<String> {
    percent_decode_str(part).decode_utf8().ok().map(|part| part.into_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(what: What) -> Result<Route, Astray> {
        Ok(Route::Of { job: "my job".into(), what })
    }

    #[test]
    fn what_is_there_is_found() {
        let get = |path: &str| route("GET", path);
        assert!(matches!(get("/"), Ok(Route::Asset(Asset { path: "/", .. }))));
        assert_eq!(get("/metrics"), Ok(Route::Metrics));
        assert_eq!(get("/api/jobs"), Ok(Route::Jobs));
        assert_eq!(get("/api/jobs/my%20job"), of(What::Job));
        assert_eq!(get("/api/jobs/my%20job/checkpoints"), of(What::Checkpoints));
        assert_eq!(get("/api/jobs/my%20job/checkpoints/config"), of(What::Config));
        assert_eq!(get("/api/jobs/my%20job/checkpoints/17"), of(What::Checkpoint { window: 17 }));
        let operator = What::Operator { window: 17, operator: "größe".into() };
        assert_eq!(get("/api/jobs/my%20job/checkpoints/17/operators/gr%C3%B6%C3%9Fe"), of(operator));
        assert_eq!(get("/api/jobs/my%20job/savepoints"), of(What::Savepoints));
        assert_eq!(get("/api/jobs/my%20job/deadletters"), of(What::DeadLetters));
        assert_eq!(get("/api/jobs/my%20job/state"), of(What::States));
        assert_eq!(get("/api/jobs/my%20job/state/a%2Fb"), of(What::State { operator: "a/b".into() }));
        assert_eq!(route("HEAD", "/api/jobs/my%20job"), of(What::Job));
        assert_eq!(route("POST", "/api/jobs"), Ok(Route::Submit));
        assert_eq!(route("POST", "/api/jobs/a/upgrade"), Ok(Route::Upgrade { job: "a".into() }));
        assert_eq!(route("DELETE", "/api/jobs/a"), Ok(Route::Delete { job: "a".into() }));
        for (path, act) in [("savepoint", Act::Savepoint), ("savepoints", Act::Savepoint), ("stop", Act::Stop)] {
            let route = route("POST", &format!("/api/jobs/a/{path}"));
            assert_eq!(route, Ok(Route::Do { job: "a".into(), act }));
        }
    }

    #[test]
    fn what_openapi_tells_of_is_there() {
        let told: serde_json::Value = serde_json::from_str(OPEN_API).unwrap();
        let paths = told["paths"].as_object().unwrap();
        assert!(paths.len() > 10, "{paths:?}");
        for (path, of) in paths {
            let path = path.replace("{job}", "a").replace("{window}", "7").replace("{operator}", "b");
            for method in ["GET", "POST", "DELETE"] {
                let is_told = of.get(method.to_lowercase()).is_some();
                let is_there = route(method, &path).is_ok();
                assert_eq!(is_there, is_told, "{method} {path}");
            }
        }
    }

    #[test]
    fn what_is_not_there_is_not_found_and_methods_are_told() {
        for path in [
            "",
            "/api",
            "/api/jobs/",
            "/api/jobs/a/",
            "/api/jobs/a/checkpoints/x",
            "/api/jobs/a/checkpoints/-1",
            "/api/jobs/a/checkpoints/+3",
            "/api/jobs/a/checkpoints/03",
            "/api/jobs/a/state/",
            "/x",
            "/%ff",
            "/api/jobs/a/checkpoints/99999999999999999999",
            "/../Cargo.toml",
            "/page/../page.js",
            "/api/jobs/a/stop/now",
        ] {
            assert_eq!(route("GET", path), Err(Astray::NotFound), "{path}");
        }
        assert_eq!(route("PUT", "/api/jobs"), Err(Astray::Method("GET, HEAD, POST")));
        assert_eq!(route("DELETE", "/api/jobs/"), Err(Astray::NotFound));
        assert_eq!(route("GET", "/api/jobs/a/upgrade"), Err(Astray::Method("POST")));
        assert_eq!(route("POST", "/api/jobs/a"), Err(Astray::Method("GET, HEAD, DELETE")));
        assert_eq!(route("DELETE", "/"), Err(Astray::Method("GET, HEAD")));
        assert_eq!(route("GET", "/api/jobs/a/stop"), Err(Astray::Method("POST")));
        assert_eq!(route("PUT", "/api/jobs/a/savepoints"), Err(Astray::Method("GET, HEAD, POST")));
    }
}
