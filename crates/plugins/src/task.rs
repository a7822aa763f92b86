//! The Task: what dispatcherd gives, and what is said about it.

use std::fs::{File, OpenOptions};
use std::io::{Read as _, Write as _, stdin};
use std::path::{Component, Path, PathBuf};

use aegir_catalog::runner::{DESCRIPTOR, Input, Line, PROTOCOL, Verb};
use aegir_protocol::name::{DocumentName, PlanHash};
use aegir_protocol::record::StepStatus;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

use crate::error::Error;

/// A Task in progress.
#[derive(Debug)]
pub(crate) struct Task {
    pub(crate) input: Input,
    lines: File,
    doing: String,
}

impl Task {
    /// Reads the Task, and greets.
    pub(crate) fn begin(verb: Verb) -> Result<Self, Error> {
        let mut text = String::new();
        let wrong = |error: &dyn std::fmt::Display| Error::Input(error.to_string());
        stdin().read_to_string(&mut text).map_err(|error| wrong(&error))?;
        let value: Value = serde_json::from_str(&text).map_err(|error| wrong(&error))?;
        // What another version says may have another shape.
        if value["protocol"] != PROTOCOL {
            return Err(Error::Input(format!("this speaks {PROTOCOL}, not {}", value["protocol"])));
        }
        let input: Input = serde_json::from_value(value).map_err(|error| wrong(&error))?;
        if input.verb != verb {
            return Err(Error::Input(format!("it is to {}, not to {}", input.verb.as_str(), verb.as_str())));
        }
        // Nothing else opens an inherited descriptor without unsafe code.
        let path = format!("/proc/self/fd/{DESCRIPTOR}");
        let lines = OpenOptions::new().append(true).open(path).map_err(Error::Lines)?;
        let mut task = Self { input, lines, doing: verb.as_str().to_owned() };
        let version = env!("CARGO_PKG_VERSION").to_owned();
        task.say(&Line::Greeting { protocol: PROTOCOL.to_owned(), version })?;
        Ok(task)
    }

    fn say(&mut self, line: &Line) -> Result<(), Error> {
        let mut text = json!(line).to_string();
        text.push('\n');
        self.lines.write_all(text.as_bytes()).map_err(Error::Lines)
    }

    /// What is being done now, which is what failed if it fails, and how far the Task is.
    pub(crate) fn doing(&mut self, percent: u8, what: &str) -> Result<(), Error> {
        crate::interrupt::check()?;
        what.clone_into(&mut self.doing);
        self.say(&Line::Progress { percent, message: Some(what.to_owned()) })
    }

    /// Something was done, or would be.
    pub(crate) fn step(&mut self, name: &str, changed: bool, diff: Option<Value>) -> Result<(), Error> {
        let status = if changed { StepStatus::Changed } else { StepStatus::Ok };
        let (name, host, message) = (name.to_owned(), None, None);
        self.say(&Line::Step { name, status, host, duration_ms: 0, message, diff })
    }

    /// What was being done has failed.
    pub(crate) fn failed(&mut self, message: String) -> Result<(), Error> {
        let (name, status) = (self.doing.clone(), StepStatus::Failed);
        self.say(&Line::Step { name, status, host: None, duration_ms: 0, message: Some(message), diff: None })
    }

    /// What would change.
    pub(crate) fn plan(&mut self, hash: PlanHash, changes: Value) -> Result<(), Error> {
        self.say(&Line::Plan { hash, changes })
    }

    /// A value for the frontend and later Tasks.
    pub(crate) fn document(&mut self, name: DocumentName, value: Value) -> Result<(), Error> {
        self.say(&Line::Document { name, entity: None, value })
    }

    /// Refuses to go on where another plan was approved.
    pub(crate) fn check_approved(&self, hash: &PlanHash) -> Result<(), Error> {
        match &self.input.approved {
            Some(approved) if approved != hash => Err(Error::PlanChanged),
            Some(_) | None => Ok(()),
        }
    }

    /// What the role's manifest says under `with`.
    pub(crate) fn settings<T: DeserializeOwned>(&self) -> Result<T, Error> {
        serde_json::from_value(Value::Object(self.input.settings.clone()))
            .map_err(|error| Error::Role(format!("`with` of its Task {}: {error}", self.input.task)))
    }

    /// A directory of the role.
    pub(crate) fn role_directory(&self, within: &str) -> Result<PathBuf, Error> {
        let inside = Path::new(within).components().all(|part| matches!(part, Component::Normal(_)));
        let path = Path::new(&self.input.role_directory).join(within);
        if !inside || within.is_empty() {
            return Err(Error::Role(format!("{within:?} is no path within the role")));
        }
        if !path.is_dir() {
            return Err(Error::Role(format!("it has no directory {within}")));
        }
        Ok(path)
    }
}
