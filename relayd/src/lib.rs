//! relayd: keeps the Operations of a frontend, decides, and hands on what happens.
