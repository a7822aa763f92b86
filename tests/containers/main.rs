//! The localdev, in containers, from the files of the DDEV add-on: what must work there, what may be restarted, and
//! what may be cut. Each test has a network of its own. They need a Docker engine and the images: `cargo xtask
//! containers` sees to both.

mod bad_input;
mod broker;
mod deploy;
mod hosting;
mod install_page;
mod journeys;
mod localdev;
mod machine;
mod network;
mod pair;
mod php;
mod php_apart;
mod php_code;
mod php_systemd;
mod restarts;
mod units;
