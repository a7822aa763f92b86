//! relayd: keeps the Operations of a frontend, decides, and hands on what happens.
//!
//! | module | holds |
//! |---|---|
//! | [`app`], [`config`] | putting it together; the config file |
//! | [`submit`] | taking requests, by HTTP and AMQP |
//! | [`ledger`], [`locks`] | the decisions: pure functions |
//! | [`ingest`] | what comes from nodes |
//! | [`nodes`] | which nodes are alive |
//! | [`store`] | the database, and the one task that writes it |
//! | [`dispatch`] | what goes to nodes |
//! | [`dead`] | messages that nobody could handle |
//! | [`http`] | the API and the page |
//! | [`relay`] | the handle that the API and the page use |
//! | [`sign_in`], [`secrets`] | who may; sealing |
//! | [`catalogs`], [`changes`] | what backends can do; who watches is notified |

pub mod app;
#[cfg(feature = "chaos-bugs")]
pub mod bugs;
pub mod catalogs;
pub mod changes;
pub mod config;
pub mod dead;
pub mod dispatch;
pub mod http;
pub mod ingest;
pub mod ledger;
pub mod locks;
pub mod nodes;
pub mod relay;
pub mod secrets;
pub mod sign_in;
pub mod store;
pub mod submit;
