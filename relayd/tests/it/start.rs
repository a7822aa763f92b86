//! Starting, and what keeps it from that.

use aegir_protocol::code::Code;
use relayd::app::{App, StartError};

use crate::world::{World, request};

#[tokio::test(flavor = "multi_thread")]
async fn a_second_relayd_on_the_same_state_directory_is_refused() {
    let mut world = World::new().await;
    let Err(StartError::Directory(error)) = App::start(world.config()).await else { panic!("it started") };
    assert_eq!(error.code(), Code::StateDirectoryInUse);
    world.stop().await;
    let app = App::start(world.config()).await.unwrap();
    drop(app);
}

#[tokio::test(flavor = "multi_thread")]
async fn without_a_catalog_a_request_says_what_is_missing() {
    let mut world = World::new().await;
    let problem = world.services().operations.submit(request("a"), None).await.unwrap_err();
    assert_eq!((problem.code.as_str(), problem.status), ("unknown_backend", 422));
    assert!(problem.detail.contains(world.frontend.as_str()), "{}", problem.detail);
    world.stop().await;
}
