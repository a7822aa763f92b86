//! relayd: keeps the Operations of a frontend, decides, and hands on what happens.
//!
//! | module | holds |
//! |---|---|
//! | [`app`], [`config`] | putting it together; the config file |
//! | [`operations`], [`backends`], [`documents`], [`dead_letters`], [`sessions`], [`diagnosis`] | what can be asked; [`services`] has one of each |
//! | [`ledger`], [`locks`] | the decisions: pure functions |
//! | [`ingest`] | what comes from nodes |
//! | [`nodes`] | which nodes are alive |
//! | [`store`] | the database, and the one task that writes it |
//! | [`dispatch`] | what goes to nodes |
//! | [`http`], [`requests`] | who asks: the API and the page; messages |
//! | [`sign_in`], [`secrets`] | who may; sealing |
//! | [`catalogs`], [`changes`] | what backends can do; who watches is notified |

pub mod app;
pub mod backends;
pub mod catalogs;
pub mod changes;
pub mod config;
pub mod dead_letters;
pub mod diagnosis;
pub mod dispatch;
pub mod documents;
pub mod http;
pub mod ingest;
pub mod ledger;
pub mod locks;
pub mod nodes;
pub mod operations;
pub mod requests;
pub mod secrets;
pub mod services;
pub mod sessions;
pub mod sign_in;
pub mod store;
