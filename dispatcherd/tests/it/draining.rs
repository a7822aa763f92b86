//! `dispatcherd drain`.

use std::cell::RefCell;
use std::process::Stdio;

use aegir_protocol::code::Code;
use serde_json::json;

use crate::relayd::State;
use crate::world::World;

#[tokio::test(flavor = "multi_thread")]
async fn a_draining_node_takes_nothing_new_and_says_what_still_runs() {
    let mut world = World::start("slots = 1").await;
    let (running, waiting) = (world.sleeper(), world.operation("example.print", json!({})));
    world.relayd.submit(&running).await;
    world.relayd.until("output", |state| state.text(running.attempt_id()).contains("before")).await;
    world.relayd.submit(&waiting).await;
    let waits = waiting.attempt_id();
    let lists = |state: &State| state.heartbeats.last().is_some_and(|beat| beat.waiting == [waits]);
    world.relayd.until("a heartbeat with what waits", lists).await;

    let (code, said) = world.command(&["drain"]);
    assert_eq!(code, Some(0), "{said}");
    assert!(said.contains("1 still running") && said.contains(&running.attempt_id().to_string()), "{said}");
    assert!(said.contains("1 more wait here"), "{said}");
    let drains = |state: &State| {
        state.heartbeats.last().is_some_and(|beat| {
            let said = beat.closed.as_ref().is_some_and(|reason| reason.code == Code::Draining.as_str());
            said && !beat.accepting && beat.waiting.is_empty() && beat.running == [running.attempt_id()]
        })
    };
    world.relayd.until("a heartbeat that says so", drains).await;

    // It outlives the daemon, and the runner does not notice.
    world.kill().await;
    let (code, said) = world.command(&["drain"]);
    assert_eq!(code, Some(0), "{said}");
    assert!(said.contains("1 still running") && said.contains("1 more wait here"), "{said}");
    let beats = world.relayd.state().heartbeats.len();
    world.restart();
    world.relayd.until("the same again", |state| state.heartbeats.len() > beats && drains(state)).await;
    let waiter = world.started(&["drain", "--wait"]).stdout(Stdio::piped()).spawn().unwrap();
    let waiter = RefCell::new(waiter);
    world.open_gate();
    world.relayd.until("the end", |state| state.complete(running.attempt_id())).await;
    let status = world.wait("the end of --wait", || waiter.borrow_mut().try_wait().unwrap()).await;
    assert!(status.success(), "{status}");
    assert_eq!(world.relayd.state().claims.len(), 1, "what waited was claimed");

    let (code, said) = world.command(&["drain", "--undo"]);
    assert_eq!((code, said.as_str()), (Some(0), "This node takes Operations.\n"));
    world.relayd.until("the other's end", |state| state.complete(waits)).await;
}
