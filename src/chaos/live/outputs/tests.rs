use super::*;

struct Case {
    folder: tempfile::TempDir,
    watched: Watched,
}

impl Case {
    fn new(how: How, golden: &[(&str, &str)], may_repeat: bool) -> Case {
        let folder = tempfile::tempdir().unwrap();
        let check = SinkCheck {
            name: "out".into(),
            folder: Some(folder.path().into()),
            how,
            may_repeat: may_repeat.then(|| "it may".to_string()),
        };
        let peace = folder.path().join("peace");
        fs::create_dir(&peace).unwrap();
        for (name, text) in golden {
            fs::write(peace.join(name), text).unwrap();
        }
        let golden = Committed::read(&check, &peace).unwrap();
        let watched = Watched::new(check, Some(folder.path().join("out")), golden);
        fs::create_dir(folder.path().join("out")).unwrap();
        Case { folder, watched }
    }

    fn commit(&mut self, name: &str, text: &str) -> Vec<&'static str> {
        let out = self.folder.path().join("out");
        fs::write(out.join(".staged"), text).unwrap();
        fs::rename(out.join(".staged"), out.join(name)).unwrap();
        self.look()
    }

    fn look(&mut self) -> Vec<&'static str> {
        let rows = |case: &Case| -> u64 { case.watched.wrong().iter().map(|broken| broken.more + 1).sum() };
        let before = rows(self);
        let files = self.watched.look(0).unwrap();
        let mut wrong: Vec<&str> = files.iter().map(|violation| violation.invariant.name()).collect();
        wrong.extend((before..rows(self)).map(|_| self.watched.wrong().last().unwrap().invariant));
        wrong
    }

    fn end(&self) -> Vec<&'static str> {
        self.watched.complete().iter().map(|violation| violation.invariant.name()).collect()
    }
}

const ROWS: &[(&str, &str)] = &[("a-1.csv", "k,x\na,0.3\na,0.3\nb,1.5\n")];

#[test]
fn rows_may_come_in_any_order_and_files_but_each_as_often_as_without_faults() {
    let mut case = Case::new(How::Rows, ROWS, false);
    assert_eq!(case.look(), [""; 0]);
    assert_eq!(case.commit("a-1.csv", "k,x\nb,1.5\na,0.30000000000000004\n"), [""; 0]);
    assert_eq!(case.end(), ["output-complete"]);
    assert_eq!(case.commit("a-2.csv", "k,x\na,0.3\n"), [""; 0]);
    assert_eq!(case.end(), [""; 0]);
    assert_eq!(case.commit("a-3.csv", "k,x\na,0.3\nc,1\n"), ["output-not-repeated", "output-not-repeated"]);
    let report = case.watched.report();
    assert_eq!((report.golden, report.committed, report.missing, report.surplus), (3, 5, 0, 2));
}

#[test]
fn what_was_said_of_rows_is_taken_back_with_their_comparison_and_what_was_said_of_files_is_not() {
    let mut case = Case::new(How::Rows, ROWS, false);
    assert_eq!(case.commit("a-1.csv", "k,x\nc,1\n"), ["output-not-repeated"]);
    fs::remove_file(case.folder.path().join("out/a-1.csv")).unwrap();
    assert_eq!(case.look(), ["committed-stays"]);
    case.watched.give_up("rows came late".into());
    assert_eq!(case.end(), [""; 0]);
    assert_eq!(case.watched.wrong(), []);
    let report = case.watched.report();
    assert_eq!((report.is_compared, report.surplus), (false, 0));
    assert!(report.compared.contains("rows came late"));
}

#[test]
fn what_is_committed_stays() {
    let mut case = Case::new(How::Rows, ROWS, false);
    case.commit("a-1.csv", "k,x\nb,1.5\n");
    let out = case.folder.path().join("out");
    fs::write(out.join("a-1.csv"), "k,x\nb,1.6\n\n").unwrap();
    assert_eq!(case.look(), ["committed-stays"]);
    assert_eq!(case.look(), [""; 0], "it is said once");
    fs::remove_file(out.join("a-1.csv")).unwrap();
    assert_eq!(case.look(), ["committed-stays"]);
    fs::write(out.join(".hidden"), "x").unwrap();
    assert_eq!(case.look(), [""; 0]);
}

#[test]
fn of_running_values_only_the_last_row_counts() {
    let how = How::Latest(vec!["k".into()]);
    let golden = [("a-1.csv", "k,x\na,0.1\nb,9\n"), ("a-2.csv", "k,x\na,0.3\n")];
    let mut case = Case::new(how, &golden, false);
    assert_eq!(case.commit("a-1.csv", "k,x\na,0.2\nb,9\n"), [""; 0]);
    assert_eq!(case.end(), ["output-complete"]);
    assert_eq!(case.watched.report().missing, 1);
    assert_eq!(case.commit("a-2.csv", "k,x\na,0.30000000000000004\n"), [""; 0]);
    assert_eq!(case.end(), [""; 0]);
    assert_eq!(case.commit("a-3.csv", "k,x\nc,1\n"), ["output-not-repeated"]);
}

#[test]
fn what_may_repeat_is_checked_for_loss() {
    let mut case = Case::new(How::Rows, ROWS, true);
    assert_eq!(case.commit("a-1.csv", "k,x\na,0.3\na,0.3\na,0.3\nc,1\n"), [""; 0]);
    assert_eq!(case.end(), ["output-complete"]);
    assert_eq!(case.commit("a-2.csv", "k,x\nb,1.5\n"), [""; 0]);
    assert_eq!(case.end(), [""; 0]);
}

#[test]
fn columns_that_are_not_there_are_a_mistake_of_the_configuration() {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("a-1.csv"), "k,x\na,1\n").unwrap();
    let how = How::Latest(vec!["key".into()]);
    let check = SinkCheck { name: "out".into(), folder: None, how, may_repeat: None };
    let error = Committed::read(&check, folder.path()).unwrap_err();
    assert_eq!(error.kind().exit_code(), 2);
    assert!(error.to_string().contains("no such columns in `a,1`"), "{error}");
}

#[test]
fn what_may_count_twice_is_looked_up_by_its_key_alone() {
    let keys = || How::Keys(vec!["k".into(), "start".into()]);
    let golden: &[(&str, &str)] = &[("a-1.csv", "k,start,n\na,0,3\na,60,4\nb,0,1\n")];
    let mut case = Case::new(keys(), golden, true);
    assert_eq!(case.commit("a-1.csv", "k,start,n\na,0,5\nb,0,1\nc,0,1\n"), [""; 0]);
    assert_eq!(case.end(), ["output-complete"], "the second window of a is missing");
    assert_eq!(case.watched.report().missing, 1);
    assert_eq!(case.commit("a-2.csv", "k,start,n\na,60,9\n"), [""; 0]);
    assert_eq!(case.end(), [""; 0]);
    let report = case.watched.report();
    assert_eq!((report.missing, report.surplus, report.compared.as_str()), (0, 0, "by k, start, for loss only"));
}
