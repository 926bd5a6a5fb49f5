//! piton
