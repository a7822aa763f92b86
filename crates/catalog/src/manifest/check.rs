//! What is wrong with a manifest. Files are not looked at.

use serde_json::Value;

use crate::manifest::{
    Argument, MANIFEST_SCHEMA, Manifest, OperationManifest, Retry, TaskManifest, VariableManifest,
};
use aegir_protocol::name::{TargetId, VariableName};

impl Manifest {
    /// What is wrong with it, in sentences; empty when nothing is. Files are not looked at.
    #[must_use]
    pub fn check(&self) -> Vec<String> {
        let mut wrong = Vec::new();
        if self.schema != MANIFEST_SCHEMA {
            wrong.push(format!("schema is {:?}, {MANIFEST_SCHEMA:?} is expected", self.schema));
        }
        if self.operations.is_empty() && self.tasks.is_empty() {
            wrong.push("it has neither operations nor tasks, so nobody could use it".to_owned());
        }
        // Other roles may build on the tasks of one without operations.
        if self.targets.is_empty() && !self.operations.is_empty() {
            wrong.push("targets is empty: name the kinds of things that its operations are for".to_owned());
        }
        for (name, operation) in &self.operations {
            if operation.title.is_empty() {
                wrong.push(format!("operations.{name} has no title"));
            }
            // The queue is checked by an operation that does nothing.
            if operation.tasks.is_empty() && self.targets.iter().any(|kind| kind.as_str() != "backend") {
                wrong.push(format!("operations.{name} has no tasks, so it would do nothing"));
            }
            for task in operation.tasks.iter().filter(|task| !self.tasks.contains_key(*task)) {
                wrong.push(format!("operations.{name}.tasks names {task}, which is not among tasks"));
            }
            for lock in &operation.locks {
                let problem = self.check_lock(operation, &lock.variable);
                wrong
                    .extend(problem.map(|problem| {
                        format!("operations.{name}.locks names {}, {problem}", lock.variable)
                    }));
            }
            for (number, task) in operation.tasks.iter().enumerate() {
                let words = self.tasks.get(task).and_then(|task| task.shell.as_ref());
                for word in words.into_iter().flat_map(|shell| &shell.argv) {
                    if let Argument::Output(of, _) = word
                        && !operation.tasks[..number].contains(of)
                    {
                        wrong.push(format!("operations.{name}: {task} gets what {of} hands over, which does not come before it"));
                    }
                }
            }
            wrong.extend(operation.check().into_iter().map(|error| format!("operations.{name}{error}")));
        }
        for (name, task) in &self.tasks {
            for variable in task.variables.iter().filter(|variable| !self.variables.contains_key(*variable)) {
                wrong.push(format!("tasks.{name}.variables names {variable}, which is not among variables"));
            }
            wrong.extend(task.check().into_iter().map(|error| format!("tasks.{name}: {error}")));
            let of_hosts =
                |name: &&VariableName| self.variables.get(*name).is_some_and(VariableManifest::of_hosts);
            if task.task_file(name).is_none()
                && let Some(variable) = task.variables.iter().find(of_hosts)
            {
                wrong.push(format!("tasks.{name} gets {variable}, whose scope hosts is for task-files"));
            }
            wrong.extend(self.check_arguments_of(task).map(|error| format!("tasks.{name}: {error}")));
            let settings = task.plugin.iter().flat_map(|plugin| self.check_settings(&plugin.settings));
            wrong.extend(settings.map(|error| format!("tasks.{name}: {error}")));
        }
        for (name, variable) in &self.variables {
            wrong.extend(variable.check().into_iter().map(|error| format!("variables.{name}{error}")));
        }
        wrong
    }

    /// Why the value of a variable would not always name what an operation is to lock.
    fn check_lock(&self, operation: &OperationManifest, name: &VariableName) -> Option<&'static str> {
        let Some(variable) = self.variables.get(name) else { return Some("which is not among variables") };
        let got = |task| self.tasks.get(task).is_some_and(|task| task.variables.contains(name));
        let is_id = |value: &Value| value.as_str().is_some_and(|id| id.parse::<TargetId>().is_ok());
        if variable.of_hosts() {
            Some("of which each host has its own")
        } else if variable.0.get("type").and_then(Value::as_str) != Some("string") {
            Some("whose type is not string, as that of an id is")
        } else if variable.secret() {
            Some("a secret, which relayd can't read")
        } else if !operation.tasks.iter().any(got) {
            Some("which none of its tasks gets")
        } else {
            match variable.default() {
                None if variable.optional() => {
                    Some("which may be absent: make it required, or give it a default")
                }
                Some(default) if !is_id(default) => Some("whose default is no id"),
                None | Some(_) => None,
            }
        }
    }

    /// What a program gets as an argument that it can't get.
    fn check_arguments_of(&self, task: &TaskManifest) -> impl Iterator<Item = String> {
        let argv = task.shell.iter().flat_map(|shell| &shell.argv);
        argv.filter_map(|argument| match argument {
            Argument::Text(_) => None,
            Argument::Variable(name) => self.variables.get(name).filter(|variable| variable.secret()).map(|_| {
                format!("shell.argv uses {name}, a secret, which everybody on the host could read there: let the program read $AEGIR_SECRETS/{name}")
            }),
            Argument::Output(of, document) => {
                let declared = self.tasks.get(of).and_then(|task| task.outputs.get(document));
                match declared {
                    None => Some(format!("shell.argv uses {of}.{document}, and no task {of} has {document} among its outputs")),
                    Some(output) if output.secret() => Some(format!(
                        "shell.argv uses {of}.{document}, a secret, which everybody on the host could read there"
                    )),
                    Some(_) => None,
                }
            }
        })
    }
}

impl OperationManifest {
    /// What is wrong with how it is tried again, each after the name of the operation.
    fn check(&self) -> Vec<String> {
        let mut wrong = Vec::new();
        if self.retry != Some(Retry::Safe) && (self.lease_seconds.is_some() || self.retries.is_some()) {
            wrong.push(": lease_seconds and retries want `retry: safe`".to_owned());
        }
        if !self.lease_seconds.is_none_or(|seconds| (5..=86_400).contains(&seconds)) {
            wrong.push(".lease_seconds: 5 to 86400 is expected".to_owned());
        }
        if let Some(retries) = self.retries {
            if !(2..=10).contains(&retries.attempts) {
                wrong.push(".retries.attempts: 2 to 10 is expected".to_owned());
            }
            if !(1..=86_400).contains(&retries.backoff_seconds) {
                wrong.push(".retries.backoff_seconds: 1 to 86400 is expected".to_owned());
            }
        }
        wrong
    }
}

impl TaskManifest {
    fn check(&self) -> Vec<String> {
        let mut wrong = Vec::new();
        let runners = [self.ansible.is_some(), self.shell.is_some(), self.plugin.is_some()];
        if runners.into_iter().filter(|there| *there).count() > 1 {
            wrong.push("ansible, shell and plugin exclude each other".to_owned());
        }
        if self.uses.is_some() && (self.shell.is_some() || self.plugin.is_some()) {
            wrong.push("uses is for task-files".to_owned());
        }
        for (limit, seconds) in [("timeout", self.timeout_seconds), ("quiet", self.quiet_seconds)] {
            if seconds == Some(0) {
                wrong.push(format!("{limit}_seconds is 0: 1 or more is expected"));
            }
        }
        if let Some(shell) = &self.shell {
            if shell.argv.is_empty() {
                wrong.push("shell.argv is empty: name a program".to_owned());
            }
            for argument in &shell.argv {
                if let Argument::Variable(name) = argument
                    && !self.variables.contains(name)
                {
                    wrong.push(format!("shell.argv uses {name}, which is not among the task's variables"));
                }
            }
        }
        for (name, output) in &self.outputs {
            wrong.extend(output.check().into_iter().map(|error| format!("outputs.{name}{error}")));
        }
        if let Some(ansible) = &self.ansible {
            if ansible.task_file.is_some() && ansible.playbook.is_some() {
                wrong.push("ansible.task_file and ansible.playbook exclude each other".to_owned());
            }
            if ansible.task_file.as_deref().is_some_and(|file| file.contains('/') || file.starts_with('.')) {
                wrong.push("ansible.task_file is a file's name in tasks/, without a directory".to_owned());
            }
            if ansible.may_match_no_host && ansible.playbook.is_none() {
                wrong.push(
                    "ansible.may_match_no_host is for a playbook: a task-file is for all hosts of its task"
                        .to_owned(),
                );
            }
        }
        wrong
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::manifest::ARGUMENT;

    #[test]
    fn a_program_gets_only_what_other_tasks_hand_over_in_the_clear() {
        let manifest = |word: Value| {
            let manifest = json!({
                "schema": MANIFEST_SCHEMA, "title": "T", "targets": ["site"],
                "operations": {"move": {"title": "Move", "tasks": ["dump", "load"]}},
                "tasks": {
                    "dump": {"outputs": {"path": {"type": "string"}, "key": {"type": "string", "secret": true}}},
                    "load": {"shell": {"argv": ["load", word]}},
                },
            });
            serde_json::from_value::<Manifest>(manifest).map_err(|error| error.to_string())
        };
        let wrong = |output: &str| manifest(json!({"output": output})).unwrap().check().join("; ");
        assert_eq!(wrong("dump.path"), "");
        assert!(wrong("dump.size").contains("no task dump has size among its outputs"));
        assert!(wrong("dump.key").contains("a secret"));
        let mut backwards = manifest(json!({"output": "dump.path"})).unwrap();
        for operation in backwards.operations.values_mut() {
            operation.tasks.reverse();
        }
        assert!(
            backwards
                .check()
                .join("; ")
                .contains("load gets what dump hands over, which does not come before")
        );
        for word in [json!({"output": "dump"}), json!({"outputs": "dump.path"}), json!(3)] {
            assert!(manifest(word).unwrap_err().contains(ARGUMENT));
        }
        let argument = Argument::Output("dump".parse().unwrap(), "path".parse().unwrap());
        assert_eq!(json!(argument), json!({"output": "dump.path"}));
    }

    #[test]
    fn a_lock_can_be_taken_each_time() {
        let wrong = |variable: Value, got: &[&str]| {
            let manifest = json!({
                "schema": MANIFEST_SCHEMA, "title": "T", "targets": ["site"],
                "operations": {"clone": {"title": "Clone", "tasks": ["copy"],
                                         "locks": [{"kind": "site", "variable": "from", "mode": "exclusive"}]}},
                "tasks": {"copy": {"variables": got}, "look": {"variables": ["from"]}},
                "variables": {"from": variable},
            });
            serde_json::from_value::<Manifest>(manifest).unwrap().check().join("; ")
        };
        let string = |more: Value| {
            let mut variable = json!({"type": "string", "scope": "site"});
            variable.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
            variable
        };
        assert_eq!(wrong(string(json!({})), &["from"]), "");
        assert_eq!(wrong(string(json!({"default": "s1", "optional": true})), &["from"]), "");
        for (variable, got, part) in [
            (string(json!({})), &[][..], "which none of its tasks gets"),
            (string(json!({"secret": true})), &["from"], "a secret"),
            (string(json!({"optional": true})), &["from"], "which may be absent"),
            (string(json!({"default": "no id"})), &["from"], "whose default is no id"),
            (json!({"type": "integer", "scope": "site"}), &["from"], "whose type is not string"),
            (json!({"scope": "site"}), &["from"], "whose type is not string"),
        ] {
            let said = wrong(variable, got);
            assert!(said.contains(part) && said.starts_with("operations.clone.locks names from, "), "{said}");
        }
    }

    #[test]
    fn what_would_fail_when_a_task_runs_is_said_before() {
        let wrong = |task: Value| {
            let manifest = json!({
                "schema": MANIFEST_SCHEMA, "title": "T", "targets": ["site"],
                "operations": {"run": {"title": "Run", "tasks": ["run"]}}, "tasks": {"run": task},
                "variables": {"password": {"type": "string", "scope": "site", "secret": true},
                              "word": {"type": "string", "scope": "site"}},
            });
            serde_json::from_value::<Manifest>(manifest).unwrap().check().join("; ")
        };
        let program = |name: &str| json!({"variables": ["password", "word"], "shell": {"argv": ["load", {"variable": name}]}});
        assert_eq!(wrong(program("word")), "");
        assert_eq!(
            wrong(program("password")),
            "tasks.run: shell.argv uses password, a secret, which everybody on the host could read there: let the \
             program read $AEGIR_SECRETS/password"
        );
        let may =
            |playbook: Value| wrong(json!({"ansible": {"playbook": playbook, "may_match_no_host": true}}));
        assert_eq!(may(json!("a.yml")), "");
        assert!(may(json!(null)).contains("may_match_no_host is for a playbook"));
        assert_eq!(wrong(json!({"timeout_seconds": 1, "quiet_seconds": 1})), "");
        assert_eq!(
            wrong(json!({"timeout_seconds": 0})),
            "tasks.run: timeout_seconds is 0: 1 or more is expected"
        );
        assert_eq!(
            wrong(json!({"quiet_seconds": 0})),
            "tasks.run: quiet_seconds is 0: 1 or more is expected"
        );
    }

    #[test]
    fn a_role_can_be_used_by_somebody() {
        let wrong = |targets: Value, operations: Value, tasks: Value| {
            let manifest = json!({"schema": MANIFEST_SCHEMA, "title": "T", "targets": targets, "operations": operations, "tasks": tasks});
            serde_json::from_value::<Manifest>(manifest).unwrap().check().join("; ")
        };
        let run = json!({"run": {"title": "Run", "tasks": ["run"]}});
        assert_eq!(wrong(json!(["site"]), run.clone(), json!({"run": {}})), "");
        assert_eq!(wrong(json!([]), json!({}), json!({"run": {}})), "");
        assert!(wrong(json!([]), run, json!({"run": {}})).starts_with("targets is empty"));
        assert!(
            wrong(json!(["site"]), json!({}), json!({})).starts_with("it has neither operations nor tasks")
        );
    }
}
