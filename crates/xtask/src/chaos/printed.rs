//! What a child prints: the same bytes as `roles/chaos/files/act` writes.

use super::order::{Order, Style};

/// All of its standard output, if it is not stopped.
pub(super) fn stdout(order: &Order, attempt: u32) -> Vec<u8> {
    let salt = order.salt() + u64::from(attempt);
    let mut bytes = Vec::new();
    for n in 0..order.count {
        match order.style {
            Style::Text => {
                let check = (n * 2_654_435_761 + salt) % (1 << 32);
                bytes.extend(format!("{} {attempt} {n} {check:08x}\n", order.salt()).bytes());
            }
            Style::Binary => bytes.extend((0..64).map(|k| (n * k + salt).to_le_bytes()[0])),
            Style::Long => bytes.extend(format!("{:09} ", n * 7 + salt).bytes()),
        }
    }
    bytes
}

/// All of its standard error.
pub(super) fn stderr(order: &Order, attempt: u32) -> Vec<u8> {
    (0..order.count).step_by(10).flat_map(|n| format!("err {attempt} {n}\n").into_bytes()).collect()
}

#[cfg(test)]
mod tests {
    use std::process::Command;

    use super::*;
    use crate::chaos::order::LoadKind;
    use crate::random::Random;

    #[test]
    fn a_child_prints_what_is_computed() {
        let directory = tempfile::tempdir().unwrap();
        for style in [Style::Text, Style::Binary, Style::Long] {
            let mut order = Order::generate(7, 60_000, &mut Random::new(1));
            (order.style, order.count, order.work) = (style, 300, LoadKind::Act);
            let program = concat!(env!("CARGO_MANIFEST_DIR"), "/src/chaos/roles/chaos/files/act");
            let output = Command::new(program)
                .arg(directory.path().join("marks"))
                .args([&order.salt().to_string(), "act", "0", style.as_str(), "300", "0", "1"])
                .env("AEGIR_CHILD", "id/2")
                .output()
                .unwrap();
            assert_eq!(output.stdout, stdout(&order, 2), "{style:?}");
            assert_eq!(output.stderr, stderr(&order, 2), "{style:?}");
            assert!(output.status.success());
        }
    }
}
