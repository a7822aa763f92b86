//! Runners and their children: who they are, and killing them.

use std::fs;
use std::path::{Component, Path};

use rustix::process::{Pid, Signal, kill_process, kill_process_group};
use serde_json::Value;

use super::super::fault::OperationPhase;
use super::super::system::{ChaosNode, ChaosSystem};
use super::injection_log::InjectionLog;
use super::select::{LiveOperation, Selection};

/// A runner that runs.
struct Runner {
    pid: Pid,
    id: String,
    attempt: u32,
}

/// Kills one runner, that of an Operation in the wanted phase if there is one.
pub(super) fn kill_runner(
    selection: &Selection,
    system: &ChaosSystem,
    injected: &mut InjectionLog,
) -> Vec<OperationPhase> {
    let runners: Vec<Runner> = system.nodes.iter().flat_map(runners_of).collect();
    let found = by_preference(selection).find_map(|target| {
        let ours = |runner: &&Runner| runner.id == target.id && runner.attempt == target.attempt;
        runners.iter().find(ours).map(|runner| (target, runner))
    });
    let Some((target, runner)) = found else { return Vec::new() };
    // Before the blow: whoever looks afterwards may find the runner gone already.
    injected.runners_killed.insert((runner.id.clone(), runner.attempt));
    match kill_process(runner.pid, Signal::KILL) {
        Ok(()) => vec![target.phase],
        Err(_) => Vec::new(),
    }
}

/// Kills the child of one runner, and nothing else of its process group.
pub(super) fn kill_child(
    selection: &Selection,
    system: &ChaosSystem,
    injected: &mut InjectionLog,
) -> Vec<OperationPhase> {
    let found = by_preference(selection).find_map(|target| {
        let directories = system.nodes.iter().map(|node| node.attempt(&target.id, target.attempt));
        directories.filter_map(|directory| child(&directory, target)).next().map(|pid| (target, pid))
    });
    let Some((target, pid)) = found else { return Vec::new() };
    injected.children_killed.insert((target.id.clone(), target.attempt));
    match kill_process(pid, Signal::KILL) {
        Ok(()) => vec![target.phase],
        Err(_) => Vec::new(),
    }
}

/// Kills every runner of a node and all that they started there, as the end of its machine would. What runs on
/// minions goes on.
pub(super) fn kill_runners_of(node: &ChaosNode, injected: &mut InjectionLog) {
    for runner in runners_of(node) {
        injected.runners_killed.insert((runner.id.clone(), runner.attempt));
        // What has ended meanwhile needs no blow.
        let _ = kill_process(runner.pid, Signal::KILL);
        let target = LiveOperation {
            id: runner.id.clone(),
            attempt: runner.attempt,
            phase: OperationPhase::Running,
            node: None,
        };
        if let Some(group) = child(&node.attempt(&runner.id, runner.attempt), &target) {
            let _ = kill_process_group(group, Signal::KILL);
        }
    }
}

/// Those in the wanted phase first.
fn by_preference(selection: &Selection) -> impl Iterator<Item = &LiveOperation> {
    let wanted = |target: &&LiveOperation| target.phase == selection.wanted;
    let other = |target: &&LiveOperation| {
        target.phase != selection.wanted
            && matches!(target.phase, OperationPhase::Claimed | OperationPhase::Running)
    };
    selection.targets.iter().filter(wanted).chain(selection.targets.iter().filter(other))
}

fn runners_of(node: &ChaosNode) -> Vec<Runner> {
    let state = node.dispatcherd.state_directory();
    let entries = fs::read_dir("/proc").into_iter().flatten().flatten();
    entries
        .filter_map(|entry| {
            let pid = Pid::from_raw(entry.file_name().to_str()?.parse().ok()?)?;
            let line = fs::read(entry.path().join("cmdline")).ok()?;
            let line = String::from_utf8_lossy(&line);
            let mut words = line.split('\0').skip(1);
            if words.next()? != "runner" {
                return None;
            }
            let directory = words.map(Path::new).find(|word| word.starts_with(&state))?;
            let (id, attempt) = identity(directory)?;
            Some(Runner { pid, id, attempt })
        })
        .collect()
}

/// The last two parts of an attempt's directory.
fn identity(directory: &Path) -> Option<(String, u32)> {
    let mut parts = directory.components().rev().filter_map(|part| match part {
        Component::Normal(name) => name.to_str(),
        _ => None,
    });
    let attempt = parts.next()?.parse().ok()?;
    Some((parts.next()?.to_owned(), attempt))
}

/// The leader of the process group that an attempt's `child.json` names, if it still is that child.
fn child(directory: &Path, target: &LiveOperation) -> Option<Pid> {
    let recorded: Value = serde_json::from_slice(&fs::read(directory.join("child.json")).ok()?).ok()?;
    let group = i32::try_from(recorded["group"].as_i64()?).ok()?;
    let environment = fs::read(format!("/proc/{group}/environ")).ok()?;
    let mark = format!("AEGIR_CHILD={}/{}", target.id, target.attempt);
    let ours = environment.split(|byte| *byte == 0).any(|variable| variable == mark.as_bytes());
    ours.then(|| Pid::from_raw(group)).flatten()
}
