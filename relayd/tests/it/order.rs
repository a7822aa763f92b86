//! In which order Operations are handed out.

use aegir_protocol::id::OperationId;
use aegir_protocol::request::Request;

use crate::world::{World, eventually, request};

async fn submit(world: &World, site: &str, priority: u8) -> OperationId {
    world.services().operations.submit(Request { priority, ..request(site) }, None).await.unwrap().id
}

/// How many of these the broker has.
async fn dispatched(world: &World, operations: &[OperationId]) -> usize {
    let mut count = 0;
    for id in operations {
        count += usize::from(world.services().operations.detail(*id).await.unwrap().published);
    }
    count
}

#[tokio::test(flavor = "multi_thread")]
async fn an_urgent_one_is_delivered_next_however_many_wait() {
    let mut world = World::new().await;
    let mut node = world.node("n1").await;
    node.beat_with(1, Vec::new(), Vec::new()).await;
    let services = world.services();
    eventually(async || (!services.backends.nodes().nodes.is_empty()).then_some(())).await;
    let mut low = Vec::new();
    for number in 0..30 {
        low.push(submit(&world, &format!("low{number}"), 3).await);
    }
    node.beat_with(1, Vec::new(), Vec::new()).await;
    // Two for the one slot, in the order of submission.
    assert_eq!(node.operation().await.id, low[0]);
    assert_eq!(node.operation().await.id, low[1]);
    let urgent = submit(&world, "urgent", 9).await;
    let lowest = submit(&world, "lowest", 0).await;
    assert_eq!(node.operation().await.id, urgent);
    eventually(async || (dispatched(&world, &[urgent]).await == 1).then_some(())).await;
    assert_eq!(dispatched(&world, &low).await, 2);
    // A place is free at once when what has one is claimed, or called off.
    assert!(node.claim(urgent).await.granted);
    assert!(node.claim(low[0]).await.granted);
    assert_eq!(node.operation().await.id, low[2]);
    world.services().operations.cancel(low[1], None).await.unwrap();
    assert_eq!(node.operation().await.id, low[3]);
    // A node with more slots gets more.
    node.beat_with(2, Vec::new(), Vec::new()).await;
    assert_eq!(node.operation().await.id, low[4]);
    assert_eq!(node.operation().await.id, low[5]);
    assert_eq!(dispatched(&world, &[lowest]).await, 0);
    assert_eq!(dispatched(&world, &low[6..]).await, 0);
    drop(services);
    world.stop().await;
}
