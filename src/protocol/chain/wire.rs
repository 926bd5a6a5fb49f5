//! How the operators of a chain are connected.

/// A connection within a chain: an operator takes at once what another one, or the source, emits.
///
/// Whoever reads comes later in the chain than whoever is read. All operators but the last one are read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Wire {
    /// The operator that emits, counted from the head of the chain; nothing if it is the source of the subtask.
    pub from: Option<usize>,
    /// The operator that reads.
    pub to: usize,
    /// At which of its input ports.
    pub port: usize,
}

impl Wire {
    /// Connects so many operators one behind the other.
    #[cfg(test)]
    pub(crate) fn line(operators: usize) -> Vec<Wire> {
        (1..operators).map(|to| Wire { from: Some(to - 1), to, port: 0 }).collect()
    }
}

/// Who reads something, in turn: the operator, and at which of its ports.
pub(super) type Readers = Vec<(usize, usize)>;

/// Returns who reads what an operator emits, or the source.
pub(super) fn readers(from: Option<usize>, wires: &[Wire]) -> Readers {
    wires.iter().filter(|wire| wire.from == from).map(|wire| (wire.to, wire.port)).collect()
}

/// Returns whether an operator reads nothing but what comes into the chain.
pub(super) fn is_head(operator: usize, wires: &[Wire]) -> bool {
    wires.iter().all(|wire| wire.to != operator || wire.from.is_none())
}
