//! The runner: `dispatcherd runner DIR`, a process of its own that carries out one attempt.
//!
//! It knows no broker. It reads `operation.json` and `plan.json`, carries out the Tasks one after the other,
//! writes everything that happens into `transcript`, and holds the lock on its directory for life. The first
//! Task that does not succeed ends the attempt. It obeys `cancel.json` and its lease, and no signal: a
//! restart of dispatcherd, or a Ctrl-C at its terminal, is none of a running attempt's business.
//!
//! | module | holds |
//! |---|---|
//! | `run` | from the first record to the last |
//! | `work`, `task_end` | what every Task works with; how its end is judged |
//! | `ansible`, `shell`, `plugin` | the runner kinds |
//! | `events` | what Ansible and plug-ins say while they run |
//! | `child`, `process` | carrying a child through to its end; processes beside dispatcherd |
//! | `stop` | cancel, times, limits |
//! | `backpressure` | a full disk, a full spool |
//! | `recorder`, `output`, `redactor` | records: masked, split into lines, counted |
//! | `outputs` | what Tasks hand over, for the frontend and for those after them |
//! | `unsafe_text` | values from the frontend as Ansible takes them for data |
//! | `decrypted` | what Ansible Vault decrypts |

mod ansible;
mod backpressure;
mod child;
mod decrypted;
mod events;
pub mod output;
mod outputs;
mod plugin;
mod process;
mod recorder;
pub mod redactor;
mod run;
mod secrets;
mod shell;
mod step_stats;
mod stop;
mod task_end;
mod unsafe_text;
mod work;

pub use run::main;
