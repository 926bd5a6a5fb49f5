//! The state behind a simulated disk: its nodes, its faults, its bill.

use std::collections::BTreeMap;
use std::io;
use std::path::{Component, Path, PathBuf};

use rand::{RngExt, SeedableRng};
use rand_pcg::Pcg64Mcg;

use super::node::{DirNode, FileNode};
use super::{DiskFault, FaultRates};

/// What a call is, for the faults that can meet it.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Step {
    Read,
    Write,
    Sync,
}

/// What a call has to do after the faults have had their say.
pub(super) enum Verdict {
    Go,
    /// It fails half-way.
    Fail(io::Error),
}

#[derive(Clone, Debug)]
pub(super) enum Node {
    File(FileNode),
    Dir(DirNode),
}

#[derive(Clone, Debug)]
pub(super) struct World {
    pub(super) nodes: Vec<Node>,
    pub(super) rng: Pcg64Mcg,
    pub(super) calls: u64,
    pub(super) crash_at: Option<u64>,
    pub(super) down: bool,
    pub(super) full: bool,
    pub(super) rates: FaultRates,
    pub(super) planned: BTreeMap<u64, DiskFault>,
    pub(super) injected: u64,
    pub(super) cost_us: u64,
    /// Counts the lives of the process: a lock of an earlier one is void.
    pub(super) life: u64,
    pub(super) locks: BTreeMap<PathBuf, u64>,
}

impl World {
    pub(super) fn new(seed: u64) -> World {
        World {
            nodes: vec![Node::Dir(DirNode::default())],
            rng: Pcg64Mcg::seed_from_u64(seed),
            calls: 0,
            crash_at: None,
            down: false,
            full: false,
            rates: FaultRates::default(),
            planned: BTreeMap::new(),
            injected: 0,
            cost_us: 0,
            life: 0,
            locks: BTreeMap::new(),
        }
    }

    /// Counts a call, and says whether it succeeds.
    pub(super) fn step(&mut self, step: Step) -> io::Result<Verdict> {
        if self.down {
            return Err(down());
        }
        let call = self.calls;
        self.calls += 1;
        self.cost_us += match step {
            Step::Read => 2,
            Step::Write => 10,
            Step::Sync => 150,
        };
        if self.crash_at.is_some_and(|at| call >= at) {
            self.down = true;
            // A write under way may reach the medium in part; it is left to the crash to say which.
            return if step == Step::Write { Ok(Verdict::Fail(down())) } else { Err(down()) };
        }
        let fault = self.planned.remove(&call).or_else(|| self.draw(step));
        match (fault, step) {
            (Some(DiskFault::Slow { micros }), _) => {
                self.injected += 1;
                self.cost_us += micros;
            }
            (Some(DiskFault::Write), Step::Write) => return Ok(self.fail("injected: write error")),
            (Some(DiskFault::Read), Step::Read) => return Ok(self.fail("injected: read error")),
            (Some(DiskFault::Sync), Step::Sync) => return Ok(self.fail("injected: fsync failed")),
            (Some(DiskFault::Full), Step::Write) => {
                self.injected += 1;
                return Ok(Verdict::Fail(full()));
            }
            _ => {}
        }
        if self.full && step == Step::Write {
            self.injected += 1;
            return Ok(Verdict::Fail(full()));
        }
        Ok(Verdict::Go)
    }

    fn fail(&mut self, what: &str) -> Verdict {
        self.injected += 1;
        Verdict::Fail(io::Error::other(what))
    }

    fn draw(&mut self, step: Step) -> Option<DiskFault> {
        let rates = self.rates;
        if rates.slow > 0.0 && self.rng.random_bool(rates.slow) {
            return Some(DiskFault::Slow { micros: rates.slow_micros });
        }
        let (rate, fault) = match step {
            Step::Read => (rates.read, DiskFault::Read),
            Step::Sync => (rates.sync, DiskFault::Sync),
            Step::Write if rates.full > 0.0 && self.rng.random_bool(rates.full) => return Some(DiskFault::Full),
            Step::Write => (rates.write, DiskFault::Write),
        };
        (rate > 0.0 && self.rng.random_bool(rate)).then_some(fault)
    }

    pub(super) fn find(&self, path: &Path) -> io::Result<usize> {
        let mut node = 0;
        for part in path.components() {
            let Component::Normal(name) = part else { continue };
            let Node::Dir(dir) = &self.nodes[node] else { return Err(io::ErrorKind::NotADirectory.into()) };
            let name = name.to_string_lossy();
            node = *dir.current.get(name.as_ref()).ok_or(io::ErrorKind::NotFound)?;
        }
        Ok(node)
    }

    /// Returns the folder that a path stands in, and the path's last name.
    pub(super) fn parent(&mut self, path: &Path) -> io::Result<(&mut DirNode, String)> {
        let name = path.file_name().ok_or(io::ErrorKind::InvalidInput)?.to_string_lossy().into_owned();
        let parent = self.find(path.parent().unwrap_or(Path::new("")))?;
        match &mut self.nodes[parent] {
            Node::Dir(dir) => Ok((dir, name)),
            Node::File(_) => Err(io::ErrorKind::NotADirectory.into()),
        }
    }

    pub(super) fn file(&mut self, path: &Path) -> io::Result<&mut FileNode> {
        let node = self.find(path)?;
        match &mut self.nodes[node] {
            Node::File(file) => Ok(file),
            Node::Dir(_) => Err(io::ErrorKind::IsADirectory.into()),
        }
    }

    pub(super) fn dir(&mut self, path: &Path) -> io::Result<&mut DirNode> {
        let node = self.find(path)?;
        match &mut self.nodes[node] {
            Node::Dir(dir) => Ok(dir),
            Node::File(_) => Err(io::ErrorKind::NotADirectory.into()),
        }
    }

    /// Puts a new node under a name.
    pub(super) fn link(&mut self, path: &Path, node: Node) -> io::Result<()> {
        let number = self.nodes.len();
        let (dir, name) = self.parent(path)?;
        dir.change(vec![(name, Some(number))]);
        self.nodes.push(node);
        Ok(())
    }

    /// Power is cut: what was not synced survives in part at best.
    pub(super) fn crash(&mut self, rng: &mut impl rand::Rng) {
        for node in &mut self.nodes {
            match node {
                Node::File(file) => file.crash(rng),
                Node::Dir(dir) => dir.crash(rng),
            }
        }
        self.collect();
        self.restart();
    }

    /// A new life of the process begins.
    pub(super) fn restart(&mut self) {
        self.down = false;
        self.crash_at = None;
        self.life += 1;
        self.locks.clear();
    }

    /// Empties the files that no name leads to any more, now or after a crash. Numbers of nodes stay as they are.
    pub(super) fn collect(&mut self) {
        let mut reached = vec![false; self.nodes.len()];
        let mut queue = vec![0];
        while let Some(node) = queue.pop() {
            reached[node] = true;
            if let Node::Dir(dir) = &self.nodes[node] {
                queue.extend(dir.nodes());
            }
        }
        for (node, reached) in self.nodes.iter_mut().zip(reached) {
            if !reached {
                *node = Node::File(FileNode::default());
            }
        }
    }
}

pub(super) fn down() -> io::Error {
    io::Error::other("the simulated machine is down")
}

fn full() -> io::Error {
    io::ErrorKind::StorageFull.into()
}
