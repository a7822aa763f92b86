//! Where a chunk belongs in what is stored of its transcript.

/// Where a chunk belongs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum ChunkPosition {
    /// From this byte of the payload on, it follows what is stored.
    Append(usize),
    /// All of it is stored already.
    Known,
    /// Something before it is missing.
    Gap,
    /// It can't be a piece of what is stored: it does not hold whole records, or overlaps without a common
    /// boundary.
    Invalid,
}

/// Where a chunk that starts at `offset` belongs, when everything before `end` is stored.
#[must_use]
pub(super) fn position_of(end: u64, offset: u64, payload: &[u8]) -> ChunkPosition {
    if payload.last() != Some(&b'\n') {
        return ChunkPosition::Invalid;
    }
    let Some(overlap) = end.checked_sub(offset) else { return ChunkPosition::Gap };
    match usize::try_from(overlap) {
        Ok(0) => ChunkPosition::Append(0),
        Ok(overlap) if overlap < payload.len() => {
            // What is stored ends with a record, so the same bytes have a record's end there too.
            if payload[overlap - 1] == b'\n' {
                ChunkPosition::Append(overlap)
            } else {
                ChunkPosition::Invalid
            }
        }
        Ok(_) | Err(_) => ChunkPosition::Known,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn each_place() {
        assert_eq!(position_of(0, 0, b"a\n"), ChunkPosition::Append(0));
        assert_eq!(position_of(2, 0, b"a\nb\n"), ChunkPosition::Append(2));
        assert_eq!(position_of(4, 0, b"a\nb\n"), ChunkPosition::Known);
        assert_eq!(position_of(9, 0, b"a\nb\n"), ChunkPosition::Known);
        assert_eq!(position_of(0, 2, b"a\n"), ChunkPosition::Gap);
        assert_eq!(position_of(1, 0, b"ab\n"), ChunkPosition::Invalid);
        assert_eq!(position_of(0, 0, b"a"), ChunkPosition::Invalid);
        assert_eq!(position_of(0, 0, b""), ChunkPosition::Invalid);
    }

    proptest! {
        #[test]
        fn whatever_comes_in_whatever_order_the_copy_is_a_prefix(
            records in proptest::collection::vec("[a-z]{0,5}", 1..30),
            cuts in proptest::collection::vec((0..30_usize, 1..6_usize), 0..60),
        ) {
            let whole: Vec<u8> =
                records.iter().flat_map(|record| record.bytes().chain([b'\n'])).collect();
            let starts: Vec<usize> = std::iter::once(0)
                .chain(whole.iter().enumerate().filter(|(_, byte)| **byte == b'\n').map(|(at, _)| at + 1))
                .collect();
            let mut copy = Vec::new();
            for (first, count) in cuts {
                let first = first % records.len();
                let last = (first + count).min(records.len());
                let payload = &whole[starts[first]..starts[last]];
                match position_of(copy.len() as u64, starts[first] as u64, payload) {
                    ChunkPosition::Append(from) => copy.extend_from_slice(&payload[from..]),
                    ChunkPosition::Known => prop_assert!(starts[last] <= copy.len()),
                    ChunkPosition::Gap => prop_assert!(starts[first] > copy.len()),
                    ChunkPosition::Invalid => prop_assert!(false, "true pieces fit"),
                }
                prop_assert_eq!(&copy[..], &whole[..copy.len()]);
            }
        }
    }
}
