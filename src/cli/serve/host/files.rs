//! The files that jobs come from, and how a text becomes a plan.

use std::collections::BTreeMap;
use std::path::Path;

use super::{Host, Tenant};
use crate::cli::serve::accept::{check_name, name_in, paths_outside};
use crate::cli::serve::folder::{Change, changes, look};
use crate::cli::serve::kept::{Served, Wanted};
use crate::cli::serve::savepoints;
use crate::config::{Overrides, Resume};
use crate::error::{Error, ErrorKind, Result};
use crate::runtime::Request;
use crate::topology::{Plan, load_text};

impl Host<'_> {
    /// Sees to files that have come, changed or gone.
    pub(super) fn look(&mut self) {
        let is_first = self.texts.is_empty();
        let now = look(&self.paths, &self.texts);
        let changed = changes(&self.texts, &now);
        self.texts = now;
        for change in changed {
            match change {
                Change::Gone(file) => self.file_gone(&file),
                Change::Written(file, text) => self.file_written(&file, text, is_first),
            }
        }
        // The other one of their name may be gone.
        for (file, name) in self.namesakes.clone() {
            if let Some(text) = self.texts.get(&file).cloned().filter(|_| !self.is_namesake(&file, &name)) {
                self.file_written(&file, text, is_first);
            }
        }
    }

    /// Returns whether a job of this name is another file's, or was submitted and runs.
    fn is_namesake(&self, file: &Path, name: &str) -> bool {
        let Some(tenant) = self.tenants.get(name) else { return false };
        match &tenant.served.file {
            // A file that was renamed is the same job.
            Some(other) => other != file && self.texts.contains_key(other),
            None => tenant.run.is_some(),
        }
    }

    /// A file is not known to have the name of another one's job any more.
    fn forget_namesake(&mut self, file: &Path) {
        if self.namesakes.remove(file).is_some() {
            self.front.admit(&shown_as(file));
        }
    }

    fn tenant_of(&self, file: &Path) -> Option<String> {
        let is_its = |tenant: &Tenant| tenant.served.file.as_deref() == Some(file);
        self.tenants.iter().find(|(_, tenant)| is_its(tenant)).map(|(name, _)| name.clone())
    }

    fn file_gone(&mut self, file: &Path) {
        let stem = stem_of(file);
        self.forget_namesake(file);
        let Some(name) = self.tenant_of(file) else { return self.front.forget(&stem) };
        tracing::info!(job = name, "its file is gone: it is stopped with a savepoint");
        let savepoint = Some(savepoints::name(savepoints::REMOVED, &self.common.clock));
        self.stop(&name, Wanted::Stopped, Request::Stop { savepoint, drain: false }, None);
    }

    fn file_written(&mut self, file: &Path, text: String, is_first: bool) {
        self.forget_namesake(file);
        let (own, stem) = (self.tenant_of(file), stem_of(file));
        let plan = match self.plan(&text, Some(file), own.as_deref()) {
            Ok(plan) => plan,
            Err(error) => return self.file_refused(own, &stem, &error),
        };
        let name = plan.settings.job.name.clone();
        if stem != name && own.is_none() {
            self.front.forget(&stem);
        }
        if self.is_namesake(file, &name) {
            let of = self.tenants.get(&name).and_then(|tenant| tenant.served.file.as_deref());
            let of = of.map_or("which was submitted".to_string(), |of| format!("that of {}", of.display()));
            let error = format!(
                "{}: there is a job \"{name}\" already, {of}: give one of them another `job.name`",
                file.display()
            );
            self.namesakes.insert(file.to_path_buf(), name);
            return self.refused(&shown_as(file), &Error::config(error));
        }
        match self.tenants.get(&name) {
            Some(tenant) if tenant.text == text && tenant.run.is_some() && tenant.served.wanted == Wanted::Running => {}
            // Somebody had stopped it, and has not changed its file since.
            Some(tenant) if tenant.text == text && is_first && tenant.served.wanted != Wanted::Running => {}
            Some(_) => self.upgrade(plan, text, Some(file.to_path_buf()), None),
            None => {
                let served = Served { file: Some(file.to_path_buf()), wanted: Wanted::Running };
                self.tenants.insert(name, Tenant { served, text: text.clone(), run: None, next: None });
                self.begin(plan, text, None, None);
            }
        }
    }

    /// A file does not hold a job that can run: the one that it held goes on.
    fn file_refused(&mut self, own: Option<String>, stem: &str, error: &Error) {
        let Some(name) = own else { return self.refused(stem, error) };
        self.terminal.say(&format!("warning: job \"{name}\" goes on as it was, its file is wrong: {error}"));
        let tenant = &self.tenants[&name];
        if tenant.run.is_none() && tenant.served.wanted == Wanted::Running && !self.front.has_begun(&name) {
            let text = tenant.text.clone();
            self.go_back(&name, text);
        }
    }

    /// Plans a job, and refuses what must not run here. One that is not a file's was submitted.
    pub(super) fn plan(&self, text: &str, file: Option<&Path>, name: Option<&str>) -> Result<Plan> {
        let mut overrides = Overrides { environment: environment(), set: self.set.clone() };
        // The address is the process's own.
        overrides.environment.retain(|name, _| !name.starts_with("PITON__HTTP__"));
        let mut plan = match file {
            Some(file) => load_text(text, file, &overrides, self.registry)?,
            None => {
                // What the process knows is none of the business of whoever submits a job.
                overrides.environment.retain(|name, _| name.starts_with("PITON__"));
                self.plan_submitted(text, &overrides)?
            }
        };
        let own = plan.settings.job.name.clone();
        check_name(&own).map_err(Error::config)?;
        if let Some(name) = name.filter(|name| *name != own) {
            return Err(Error::config(format!("the job is called \"{name}\", and this text is of \"{own}\"")));
        }
        let exceeded = self.common.limits.exceeded_by(&plan.settings);
        if !exceeded.is_empty() {
            return Err(Error::new(ErrorKind::Config, exceeded));
        }
        plan.settings.store.path = self.root.state(&own);
        plan.settings.recovery.resume = Resume::Latest;
        Ok(plan)
    }

    fn plan_submitted(&self, text: &str, overrides: &Overrides) -> Result<Plan> {
        let outside = if self.allow_paths { Vec::new() } else { paths_outside(text) };
        if !outside.is_empty() {
            return Err(Error::new(ErrorKind::Config, outside));
        }
        match name_in(text) {
            Some(own) => {
                // Before the name is checked, nothing is looked for by it.
                check_name(&own).map_err(Error::config)?;
                load_text(text, &self.root.file(&own), overrides, self.registry)
            }
            None => {
                // A text that is wrong altogether is told of first.
                load_text(text, Path::new("submitted.toml"), overrides, self.registry)?;
                Err(Error::config("a job that is submitted needs a name: set job.name"))
            }
        }
    }
}

/// Returns what a file is shown as whose job has the name of another one.
fn shown_as(file: &Path) -> String {
    format!("{}.toml", stem_of(file))
}

fn stem_of(file: &Path) -> String {
    file.file_stem().unwrap_or_default().to_string_lossy().into_owned()
}

/// Returns the variables that are Unicode: others cannot be meant for us.
fn environment() -> BTreeMap<String, String> {
    let named = |(name, value): (std::ffi::OsString, std::ffi::OsString)| {
        Some((name.into_string().ok()?, value.into_string().ok()?))
    };
    std::env::vars_os().filter_map(named).collect()
}
