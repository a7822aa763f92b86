//! A stand-in for a Kubernetes API server. It is not a cluster.
//!
//! It holds objects in memory and answers what the real kubectl asks, after the API's documentation
//! (<https://kubernetes.io/docs/reference/using-api/>): discovery, reading, lists by label and field, watches, server-side
//! apply with and without a dry run, deletion, logs. A thread plays the controllers: it brings workloads up, unless their image
//! is `broken`, and empties namespaces that are deleted. What it does not do is what makes a cluster one: it checks no
//! schema, admits everything, merges lists as a whole, and runs nothing.

#![allow(clippy::unwrap_used, reason = "a test that can't go on has failed")]

mod controllers;
mod discovery;
mod http;
mod merge;
mod message;
mod openapi;
mod requests;
mod store;

use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;

use serde_json::{Value, json};

use self::store::SharedStore;

/// Must be seen nowhere. kubectl keeps it to itself where there is no TLS, so this asks for none.
pub const TOKEN: &str = "a-token-of-the-test";

/// The server, until it is dropped.
#[derive(Debug)]
pub struct ApiServer {
    address: SocketAddr,
    shared: Arc<SharedStore>,
    stop: Arc<AtomicBool>,
    threads: Vec<JoinHandle<()>>,
    directory: tempfile::TempDir,
}

impl ApiServer {
    /// One on a free port.
    ///
    /// # Panics
    ///
    /// If it can't be started.
    #[must_use]
    pub fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let shared = Arc::new(SharedStore::default());
        let stop = Arc::new(AtomicBool::new(false));
        let accepting = {
            let (shared, stop) = (shared.clone(), stop.clone());
            std::thread::spawn(move || {
                for stream in listener.incoming() {
                    if stop.load(Ordering::SeqCst) {
                        return;
                    }
                    let (shared, stop) = (shared.clone(), stop.clone());
                    // It ends when kubectl, which every test waits for, closes the connection.
                    std::thread::spawn(move || http::serve(stream.unwrap(), &shared, &stop));
                }
            })
        };
        let controlling = {
            let (shared, stop) = (shared.clone(), stop.clone());
            std::thread::spawn(move || controllers::run(&shared, &stop))
        };
        let directory = tempfile::tempdir().unwrap();
        let server = Self { address, shared, stop, threads: vec![accepting, controlling], directory };
        std::fs::write(server.kubeconfig(), server.kubeconfig_text()).unwrap();
        server
    }

    /// The file by which kubectl finds it.
    #[must_use]
    pub fn kubeconfig(&self) -> PathBuf {
        self.directory.path().join("kubeconfig")
    }

    fn kubeconfig_text(&self) -> String {
        kubeconfig(&format!("http://{}", self.address))
    }

    /// The first object of this name, in whatever namespace.
    #[must_use]
    pub fn object(&self, plural: &str, name: &str) -> Option<Value> {
        let state = self.shared.state.lock().unwrap();
        state.objects.iter().find(|(key, _)| key.plural == plural && key.name == name).map(|(_, o)| o.clone())
    }

    /// `PLURAL/NAME` of all there are.
    #[must_use]
    pub fn names(&self) -> Vec<String> {
        let state = self.shared.state.lock().unwrap();
        state.objects.keys().map(|key| format!("{}/{}", key.plural, key.name)).collect()
    }

    /// Changes an object as somebody else would.
    ///
    /// # Panics
    ///
    /// If it is not there.
    pub fn change(&self, plural: &str, name: &str, change: impl FnOnce(&mut Value)) {
        let mut state = self.shared.state.lock().unwrap();
        let key = state.objects.keys().find(|key| key.plural == plural && key.name == name).unwrap().clone();
        let mut object = state.objects[&key].clone();
        change(&mut object);
        state.put(key, object);
        self.shared.changed.notify_all();
    }

    /// Whether deleted namespaces stay.
    pub fn hold(&self, holds: bool) {
        self.shared.state.lock().unwrap().holds = holds;
        self.shared.changed.notify_all();
    }

    /// The requests that changed something since the last call, as `METHOD PATH`.
    pub fn changes(&self) -> Vec<String> {
        std::mem::take(&mut self.shared.state.lock().unwrap().changes)
    }
}

impl Drop for ApiServer {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::SeqCst);
        self.shared.changed.notify_all();
        // Wakes who accepts.
        let _ = TcpStream::connect(self.address);
        for thread in self.threads.drain(..) {
            let _ = thread.join();
        }
    }
}

/// A kubeconfig for a server.
fn kubeconfig(server: &str) -> String {
    json!({
        "apiVersion": "v1", "kind": "Config", "current-context": "test",
        "clusters": [{"name": "test", "cluster": {"server": server}}],
        "users": [{"name": "test", "user": {"token": TOKEN}}],
        "contexts": [{"name": "test", "context": {"cluster": "test", "user": "test"}}],
    })
    .to_string()
}

/// Writes a kubeconfig for a server into a directory.
///
/// # Panics
///
/// If it can't.
#[must_use]
pub fn write_kubeconfig(directory: &Path, server: &str) -> PathBuf {
    let path = directory.join("kubeconfig");
    std::fs::write(&path, kubeconfig(server)).unwrap();
    path
}
