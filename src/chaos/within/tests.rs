use super::*;
use crate::chaos::fragile::Faults as _;
use crate::topology::testing::plan as planned;

/// A broken process, its parent's end of the socket, and the hand of its clock.
fn within() -> (Within, BufReader<UnixStream>, crate::clock::Hand) {
    let (parent, child) = UnixStream::pair().unwrap();
    let (clock, hand) = Clock::simulated(0);
    let within = Within::new(child, clock);
    let mut plan = planned(
        "[sources.numbers]\ntype = \"numbers\"\nlimit = 1\n[operators.scale]\ntype = \"scale\"\n\
         inputs = [\"numbers\"]\n[operators.count]\ntype = \"count\"\ninputs = [\"scale\"]\nparallelism = 2\n",
    );
    within.prepare(&mut plan);
    (within, BufReader::new(parent), hand)
}

fn told(parent: &mut BufReader<UnixStream>) -> Told {
    let mut line = String::new();
    parent.read_line(&mut line).unwrap();
    serde_json::from_str(&line).unwrap()
}

fn fault(kind: FaultKind, operator: &str, point: Option<&str>) -> PlannedFault {
    PlannedFault { operator: Some(operator.into()), point: point.map(str::to_string), ..PlannedFault::new(7, kind) }
}

#[test]
fn a_fault_hits_the_call_that_is_meant_once() {
    let (within, mut parent, _hand) = within();
    let panic = PlannedFault {
        subtask: Some(1),
        nth: Some(2),
        moment: Some(Moment::After),
        ..fault(FaultKind::Panic, "count", Some("cut"))
    };
    within.inject(panic);
    let (first, second) = (SubtaskId::new("count", 0), SubtaskId::new("count", 1));
    assert_eq!(within.strike(&first, Hook::Cut), None, "another subtask");
    assert_eq!(within.strike(&second, Hook::Process), None, "another call");
    assert_eq!(within.strike(&second, Hook::Cut), None, "the first time");
    assert_eq!(within.strike(&second, Hook::Cut), Some(Act::PanicAfter));
    assert_eq!(told(&mut parent), Told::Struck { fault: 7, subtask: Some(1) });
    assert_eq!(within.strike(&second, Hook::Cut), None, "it has happened");
    assert_eq!(within.0.count.load(Ordering::Relaxed), 0);
}

#[test]
fn subtasks_go_by_the_head_of_their_chain() {
    let (within, mut parent, _hand) = within();
    within.inject(fault(FaultKind::DropAck, "scale", None));
    assert!(!within.loses_ack(&SubtaskId::new("scale", 0)));
    assert!(within.loses_ack(&SubtaskId::new("numbers", 0)));
    assert!(!within.loses_ack(&SubtaskId::new("numbers", 0)));
    assert_eq!(told(&mut parent), Told::Struck { fault: 7, subtask: Some(0) });
}

#[test]
fn what_is_slow_is_slow_for_a_while() {
    let (within, _parent, hand) = within();
    let slow = PlannedFault {
        lasts: Some(crate::config::Duration::from_secs(2)),
        ..fault(FaultKind::Slow, "count", Some("process"))
    };
    within.inject(slow);
    let who = SubtaskId::new("count", 0);
    assert!(within.met_by_call(&who, Hook::Cut).is_none(), "it begins with its point");
    assert!(within.met_by_call(&who, Hook::Process).unwrap().1);
    assert!(!within.met_by_call(&who, Hook::Cut).unwrap().1, "it goes on in any call");
    assert!(within.met_by_call(&SubtaskId::new("count", 1), Hook::Process).is_none());
    hand.advance(Duration::from_secs(2));
    assert!(within.met_by_call(&who, Hook::Process).is_none());
}

#[test]
fn actors_vanish_as_soon_as_there_are_any() {
    let (within, mut parent, _hand) = within();
    within.inject(fault(FaultKind::KillActor, "scale", None));
    assert_eq!(told(&mut parent), Told::Struck { fault: 7, subtask: Some(0) });
    within.inject(PlannedFault::new(8, FaultKind::KillSupervisor));
    let gone = Arc::new(Mutex::new(Vec::new()));
    let note = Arc::clone(&gone);
    Faults::begin(&within, Breaker::new(move |victim| note.lock().push(victim)));
    assert_eq!(*gone.lock(), [Victim::Actor(SubtaskId::new("numbers", 0)), Victim::Supervisor]);
}

#[test]
fn what_nobody_can_be_hit_by_is_said() {
    let (within, mut parent, _hand) = within();
    within.inject(fault(FaultKind::Panic, "cuont", Some("process")));
    assert!(matches!(told(&mut parent), Told::Missed { fault: 7, .. }));
}

#[test]
fn a_call_that_is_held_up_is_known_to_be_while_it_is() {
    let (within, mut parent, _hand) = within();
    let lasts = Some(crate::config::Duration::from_millis(200));
    within.inject(PlannedFault { lasts, ..fault(FaultKind::Hang, "count", Some("process")) });
    let who = SubtaskId::new("count", 1);
    std::thread::scope(|scope| {
        let held = scope.spawn(|| within.strike(&who, Hook::Process));
        told(&mut parent);
        while !within.holds_up(&who) {
            assert!(!held.is_finished());
            std::thread::yield_now();
        }
        assert!(!within.holds_up(&SubtaskId::new("count", 0)));
        assert_eq!(held.join().unwrap(), None);
    });
    assert!(!within.holds_up(&who));
}
