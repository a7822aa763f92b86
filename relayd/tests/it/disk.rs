//! A store whose disk is full or read-only.

use aegir_protocol::code::Code;
use aegir_protocol::state::{Outcome, State};
use aegir_testkit::SmallDisk;
use relayd::app::{App, StartError};
use relayd::config::Config;

use crate::world::{World, eventually, request};

/// More submissions than the file system's reserve and the store's own log have room for.
const MANY: usize = 20_000;

#[tokio::test]
async fn a_state_directory_that_takes_nothing_is_said_at_the_start() {
    let place = tempfile::tempdir().unwrap();
    let Some(disk) = SmallDisk::mount(&place.path().join("state"), "64k").unwrap() else { return };
    let config = || Config { state_directory: Some(disk.path().to_owned()), ..Config::default() };
    disk.read_only(true).unwrap();
    let Err(StartError::Directory(error)) = App::start(config()).await else { panic!("it started") };
    assert_eq!(error.code(), Code::StateDirectoryUnwritable);
    disk.read_only(false).unwrap();
    disk.fill(0).unwrap();
    let Err(StartError::Directory(error)) = App::start(config()).await else { panic!("it started") };
    assert_eq!(error.code(), Code::DiskFull);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_full_disk_refuses_submissions_and_loses_nothing_that_was_accepted() {
    let Some((disk, mut world)) = World::on_a_small_disk("16m").await else { return };
    let mut node = world.node("n1").await;
    let first = world.submit("first").await;
    let operation = node.operation().await;
    assert!(node.claim(first).await.granted);
    disk.fill(0).unwrap();
    let mut accepted = Vec::new();
    let mut refused = None;
    for number in 0..MANY {
        match world.services().operations.submit(request(&format!("site{number}")), None).await {
            Ok(taken) => accepted.push(taken.id),
            Err(problem) => {
                refused = Some(problem);
                break;
            }
        }
    }
    let problem = refused.expect("the disk has no end");
    assert_eq!((problem.code.as_str(), problem.status), (Code::StoreUnavailable.as_str(), 503));
    // What a node sends meanwhile is neither acknowledged nor lost.
    let whole = node.transcript(&operation, 2000, Outcome::Succeeded).concat();
    node.ship(first, 0, &whole).await;
    disk.make_room().unwrap();
    assert!(node.receipted(whole.len()).await.complete);
    world.becomes(first, State::Succeeded).await;
    assert_eq!(world.copy(first).await, whole);
    for id in accepted {
        world.services().operations.detail(id).await.unwrap();
    }
    let services = world.services();
    eventually(async || services.operations.submit(request("last"), None).await.ok()).await;
    drop(services);
    world.stop().await;
}
