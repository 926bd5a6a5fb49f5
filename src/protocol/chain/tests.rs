use std::sync::Mutex;

use piton_actors::Batch;
use piton_actors::host::{AnySink, AnySource, Hosted};
use piton_actors::prelude::*;
use piton_actors::rows;

use super::*;

type Calls = Arc<Mutex<Vec<String>>>;

const SEEN: LocalState<u64> = LocalState::new("seen");
const ODD: SideOutput<u64> = SideOutput::new("odd");

/// Emits when it is opened, counts in its state, copies odd numbers aside, and writes down what it is called for.
struct Eager {
    name: &'static str,
    calls: Calls,
}

impl Eager {
    fn write(&self, what: &str) {
        self.calls.lock().unwrap().push(format!("{} {what}", self.name));
    }
}

impl Operator for Eager {
    type In = u64;
    type Out = u64;

    const HOLDS_ROWS: Option<bool> = Some(false);

    fn side_outputs(&self) -> Vec<SideOutputDeclared> {
        vec![ODD.into()]
    }

    fn open(&mut self, ctx: &mut Context<u64>) -> UserResult {
        self.write("open");
        ctx.emit(1);
        Ok(())
    }

    fn begin_window(&mut self, window: WindowId, ctx: &mut Context<u64>) -> UserResult {
        self.write(&format!("begin {window}"));
        ctx.emit(2);
        Ok(())
    }

    fn process(&mut self, record: &u64, ctx: &mut Context<u64>) -> UserResult {
        self.write("process");
        let seen = ctx.local(SEEN).update(|seen| {
            *seen += 1;
            *seen
        })?;
        if record % 2 == 1 {
            ctx.emit_to(ODD, *record)?;
        }
        if *record == 13 || record / 100 == 99 {
            return Err(Error::failed("not 13, nor what the head makes of 99"));
        }
        ctx.emit(record * 100 + seen);
        Ok(())
    }

    fn committed(&mut self, window: WindowId) -> UserResult {
        self.write(&format!("committed {window}"));
        Ok(())
    }
}

struct Shop(Calls);

impl Workshop for Shop {
    fn source(&self) -> UserResult<Box<dyn AnySource>> {
        unreachable!("there is none")
    }

    fn operator(&self, member: usize) -> UserResult<Box<dyn AnyOperator>> {
        let (name, calls) = (["head", "tail", "end"][member], Arc::clone(&self.0));
        let factory = Arc::new(move || Ok::<_, Error>(Eager { name, calls: Arc::clone(&calls) }));
        Ok(Box::new(Hosted::new(factory, Subtask::single(name), 8)?))
    }

    fn sink(&self) -> UserResult<Box<dyn AnySink>> {
        unreachable!("there is none")
    }

    fn keyer(&self, _edge: usize) -> UserResult<Box<dyn Keyer>> {
        unreachable!("there is none")
    }

    fn unpack(&self, port: usize, bytes: &[u8]) -> UserResult<Batch> {
        <u64 as Inputs>::unpack(port, bytes)
    }
}

fn chain(calls: &Calls) -> Box<Chain> {
    let names = vec!["head".to_string(), "tail".to_string()];
    let spec = ChainSpec { names, wires: Wire::line(2), ..ChainSpec::default() };
    Box::new(Chain::new(spec, Arc::new(Shop(Arc::clone(calls)))).unwrap())
}

type Called = (Box<Chain>, Result<Vec<u64>, ChainFailure>);

fn call(chain: Box<Chain>, first: First, work: Work) -> Called {
    let (chain, answer) = chain.call(ChainCall { first, work, undoable: true });
    let records = |answer: ChainAnswer| {
        answer.outputs.iter().flat_map(|routed| rows::<u64>(&routed.batch).unwrap().to_vec()).collect()
    };
    (chain, answer.map(records))
}

fn open(ended: bool) -> Work {
    Work::Open { base: None, ended, now: 0, packed: Vec::new() }
}

fn batch(records: &[u64]) -> Work {
    let batch: Batch = Arc::new(piton_actors::Rows::new(records.to_vec()));
    Work::Entry(Entry { now: 0, what: What::Batch(0, batch) })
}

fn taken(calls: &Calls) -> Vec<String> {
    std::mem::take(&mut *calls.lock().unwrap())
}

#[test]
fn nothing_is_called_before_it_is_open() {
    let calls = Calls::default();
    let (_, out) = call(chain(&calls), First::Nothing, open(false));
    assert_eq!(taken(&calls), ["tail open", "head open", "tail process"]);
    assert_eq!(out.unwrap(), [1, 101]);
}

#[test]
fn operators_whose_input_had_ended_are_open_when_they_hear_of_commits() {
    let calls = Calls::default();
    let (chain, out) = call(chain(&calls), First::Nothing, open(true));
    assert!(out.unwrap().is_empty(), "what they emit has nowhere to go");
    let (_, told) = call(chain, First::Nothing, Work::Tell(Notice::Committed(WindowId(3))));
    told.unwrap();
    let expected = ["tail open", "head open", "tail process", "head committed 3", "tail committed 3"];
    assert_eq!(taken(&calls), expected);
}

#[test]
fn a_call_that_failed_is_taken_back_and_fresh_operators_are_told_what_they_missed() {
    let calls = Calls::default();
    let (chain, _) = call(chain(&calls), First::Nothing, open(true));
    let (chain, out) = call(chain, First::Nothing, batch(&[5]));
    assert_eq!(out.unwrap(), [50_102], "the second of the tail, which has seen one when the head was opened");
    let (chain, failed) = call(chain, First::Nothing, batch(&[6, 13, 7]));
    let failed = failed.unwrap_err();
    assert_eq!((&*failed.failure.operator, failed.row, failed.preparing), ("head", Some(1), false));
    assert!(chain.can_undo());
    taken(&calls);
    let renewal = Renewal { told: WindowId(4), window: Some(WindowId(6)) };
    let (chain, again) = call(chain, First::Undo(renewal), batch(&[6, 7]));
    assert_eq!(again.unwrap(), [60_203, 70_304], "they count on from before the call");
    let expected = ["tail open", "tail committed 4", "tail begin 6", "head open", "head committed 4", "head begin 6"];
    assert_eq!(taken(&calls)[..6], expected);
    assert_eq!(chain.entries(), [3, 4]);
}

#[test]
fn fresh_operators_go_on_from_a_snapshot() {
    let calls = Calls::default();
    let (chain, _) = call(chain(&calls), First::Nothing, open(true));
    let (chain, _) = call(chain, First::Nothing, batch(&[5, 5, 5]));
    let (chain, cut) = chain.call(ChainCall { first: First::Nothing, work: Work::Cut(WindowId(1)), undoable: true });
    let (states, entries) =
        (cut.unwrap().chunks.into_iter().map(|chunk| vec![chunk.write().unwrap()]).collect(), chain.entries());
    let (chain, _) = call(chain, First::Nothing, batch(&[13]));
    let base = Base { states, entries, ..Base::default() };
    let renewal = Renewal { told: WindowId::NONE, window: None };
    let (_, out) = call(chain, First::Restore(Box::new(base), renewal), batch(&[5]));
    assert_eq!(out.unwrap(), [50_405], "three and one of the head, which the tail has seen, and one at the opening");
}

/// Returns what comes out by each way, of a chain of which some side outputs are read, by their operators.
fn by_exit(answer: ChainAnswer) -> Vec<(Exit, Vec<u64>)> {
    let records = |routed: Routed| (routed.exit, rows::<u64>(&routed.batch).unwrap().to_vec());
    answer.outputs.into_iter().map(records).collect()
}

fn with_sides(calls: &Calls, operators: &[usize]) -> Box<Chain> {
    let names = vec!["head".to_string(), "tail".to_string()];
    let sides = operators.iter().map(|operator| SideExit { operator: *operator, output: ODD.into() }).collect();
    let chain = Chain::new(
        ChainSpec { names, wires: Wire::line(2), sides, keyed: Vec::new() },
        Arc::new(Shop(Arc::clone(calls))),
    );
    chain.map(Box::new).unwrap()
}

fn undoable(chain: Box<Chain>, first: First, work: Work) -> (Box<Chain>, Result<ChainAnswer, ChainFailure>) {
    chain.call(ChainCall { first, work, undoable: true })
}

#[test]
fn side_outputs_leave_the_chain_where_they_are_emitted() {
    let calls = Calls::default();
    let (chain, _) = undoable(with_sides(&calls, &[1, 0]), First::Nothing, open(true));
    let (_, out) = undoable(chain, First::Nothing, batch(&[3, 4]));
    assert_eq!(by_exit(out.unwrap()), [(MAIN, vec![30_102, 40_203]), (2, vec![3]), (1, vec![301])]);
    let (chain, _) = undoable(with_sides(&calls, &[]), First::Nothing, open(true));
    let (_, out) = undoable(chain, First::Nothing, batch(&[3, 4]));
    assert_eq!(by_exit(out.unwrap()), [(MAIN, vec![30_102, 40_203])], "nobody reads what goes aside");
}

#[test]
fn what_a_failed_call_has_sent_aside_is_taken_back_wherever_it_failed() {
    let renewal = Renewal { told: WindowId::NONE, window: None };
    // The head fails, or the tail, when the head has sent its records aside.
    for failing in [[3, 13], [3, 99]] {
        let calls = Calls::default();
        let (chain, _) = undoable(with_sides(&calls, &[0]), First::Nothing, open(true));
        let (chain, failed) = undoable(chain, First::Nothing, batch(&failing));
        assert!(failed.is_err());
        let (_, out) = undoable(chain, First::Undo(renewal), batch(&[5]));
        assert_eq!(by_exit(out.unwrap()), [(MAIN, vec![50_102]), (1, vec![5])]);
    }
}

/// A chain of a head, a tail and an end, connected so.
fn wired(calls: &Calls, wires: &[(Option<usize>, usize)]) -> Box<Chain> {
    let names = ["head", "tail", "end"].map(String::from).to_vec();
    let wires = wires.iter().map(|(from, to)| Wire { from: *from, to: *to, port: 0 }).collect();
    let chain = Chain::new(ChainSpec { names, wires, ..ChainSpec::default() }, Arc::new(Shop(Arc::clone(calls))));
    chain.map(Box::new).unwrap()
}

#[test]
fn a_batch_goes_one_way_to_its_end_before_it_goes_the_next() {
    let calls = Calls::default();
    let chain = wired(&calls, &[(None, 2), (None, 0), (Some(0), 1), (Some(1), 2)]);
    let (chain, _) = call(chain, First::Nothing, open(true));
    taken(&calls);
    let (chain, out) = call(chain, First::Nothing, batch(&[5, 6]));
    assert_eq!(out.unwrap(), [503, 604, 5_010_205, 6_020_306], "the tail had seen one, and the end two");
    let ways = [["end"].as_slice(), &["head", "tail", "end"]].concat();
    let expected: Vec<String> = ways.iter().flat_map(|name| vec![format!("{name} process"); 2]).collect();
    assert_eq!(taken(&calls), expected);
    // The second way fails: what came of the first one is taken back, too.
    let (chain, failed) = call(chain, First::Nothing, batch(&[7, 99]));
    let failed = failed.unwrap_err();
    assert_eq!((&*failed.failure.operator, failed.row), ("tail", None), "it reads what the head made of it");
    let renewal = Renewal { told: WindowId::NONE, window: None };
    let (_, out) = call(chain, First::Undo(renewal), batch(&[5]));
    assert_eq!(out.unwrap(), [507, 5_030_408]);
}

#[test]
fn hooks_are_called_once_where_ways_come_together() {
    let calls = Calls::default();
    let chain = wired(&calls, &[(None, 0), (None, 1), (Some(0), 2), (Some(1), 2)]);
    let (chain, opened) = call(chain, First::Nothing, open(false));
    assert_eq!(opened.unwrap(), [1, 101, 102], "one of the end itself, and one of each way");
    taken(&calls);
    let (chain, told) = call(chain, First::Nothing, Work::Tell(Notice::Committed(WindowId(2))));
    told.unwrap();
    assert_eq!(taken(&calls), ["head committed 2", "tail committed 2", "end committed 2"]);
    let (_, failed) = call(chain, First::Nothing, batch(&[6, 13]));
    let failed = failed.unwrap_err();
    assert_eq!((&*failed.failure.operator, failed.row), ("head", Some(1)));
}
