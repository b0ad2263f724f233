//! Ports that change their names, and leader Services of which the server refuses a part.

use serde_json::{Value, json};

use super::{annotate, lab, plan_past};
use crate::logic::plan::{Action, Kind, Op, Refusals, Write, WriteFailure};
use crate::logic::testkit::{Lab, Refusal};

/// What clients meet: the slice's ports and those of the Service.
fn shown(lab: &Lab) -> String {
    let text = |value: &Value| value.to_string().replace('"', "");
    let list = |ports: &Value, of: &dyn Fn(&Value) -> String| {
        let ports = ports.as_array().into_iter().flatten();
        let mut ports: Vec<String> = ports.map(of).collect();
        ports.sort();
        ports.join(" ")
    };
    let (slice, service) = (
        &lab.world.slices["s-leader"],
        &lab.world.services["s-leader"],
    );
    let udp = |port: &Value| {
        if port["protocol"] == "UDP" {
            "/UDP"
        } else {
            ""
        }
    };
    let carried = list(&slice["ports"], &|port| {
        format!("{}={}{}", text(&port["name"]), port["port"], udp(port))
    });
    let stands = list(&service["spec"]["ports"], &|port| {
        format!("{}:{}{}", text(&port["name"]), port["port"], udp(port))
    });
    format!("{carried} | {stands}")
}

fn port(name: &str, number: u16, target: impl Into<Value>) -> Value {
    json!({"name": name, "port": number, "targetPort": target.into(), "protocol": "TCP"})
}

fn set_ports(lab: &mut Lab, ports: &Value) {
    lab.world
        .edit_service("s", |object| object["spec"]["ports"] = ports.clone());
}

/// Every state on the way from some ports to others: no number of the Service ever has a name that
/// the slice does not carry.
#[test]
fn no_port_is_cut_off_by_its_name() {
    let dns = |protocol: &str| json!([{"name": "dns", "port": 53, "targetPort": 53, "protocol": protocol}]);
    let (http, sql) = (port("http", 80, "web"), port("sql", 80, "web"));
    for (what, from, to, expected) in [
        (
            "renamed",
            json!([http]),
            json!([sql]),
            &[
                "http=8080 sql=8080 | http:80",
                "http=8080 sql=8080 | sql:80",
                "sql=8080 | sql:80",
            ][..],
        ),
        (
            "named at last",
            json!([{"port": 80, "targetPort": 9, "protocol": "TCP"}]),
            json!([port("sql", 80, 9)]),
            &["=9 sql=9 | null:80", "=9 sql=9 | sql:80", "sql=9 | sql:80"],
        ),
        (
            "renamed, and leads elsewhere",
            json!([http]),
            json!([port("sql", 80, 9)]),
            &[
                "http=9 sql=9 | http:80",
                "http=9 sql=9 | sql:80",
                "sql=9 | sql:80",
            ],
        ),
        (
            "renamed, with another number",
            json!([http]),
            json!([port("sql", 5432, 5432)]),
            &[
                "http=8080 sql=5432 | http:80",
                "http=8080 sql=5432 | sql:5432",
                "sql=5432 | sql:5432",
            ],
        ),
        (
            "another number",
            json!([http]),
            json!([port("http", 81, 9)]),
            &["http=9 | http:80", "http=9 | http:81"],
        ),
        (
            "added",
            json!([http]),
            json!([http, port("admin", 81, 9)]),
            &[
                "admin=9 http=8080 | http:80",
                "admin=9 http=8080 | admin:81 http:80",
            ],
        ),
        (
            "removed",
            json!([http, port("admin", 81, 9)]),
            json!([http]),
            &["admin=9 http=8080 | http:80", "http=8080 | http:80"],
        ),
        (
            "names swapped",
            json!([port("a", 80, 1), port("b", 81, 2)]),
            json!([port("b", 80, 1), port("a", 81, 2)]),
            &["a=1 b=2 | a:81 b:80", "a=2 b=1 | a:81 b:80"],
        ),
        (
            "another protocol: a slice has each name once",
            dns("TCP"),
            dns("UDP"),
            &["dns=53 | dns:53/UDP", "dns=53/UDP | dns:53/UDP"],
        ),
    ] {
        let mut lab = lab(|body| body["spec"]["ports"] = from);
        set_ports(&mut lab, &to);
        let mut seen = Vec::new();
        while lab.round() {
            seen.push(shown(&lab));
        }
        assert_eq!(seen, expected, "{what}");
        assert_eq!(lab.refusals, [], "{what}");
    }
}

#[test]
fn what_a_user_adds_to_a_leader_service_gets_no_endpoint() {
    let mut lab = lab(|_| {});
    lab.world.edit_service("s-leader", |object| {
        object["spec"]["ports"] = json!([port("http", 80, "web"), port("mine", 9, 9)]);
    });
    lab.settle();
    assert_eq!(lab.writes.len(), 1, "healed, and no slice is written");
    assert_eq!(shown(&lab), "http=8080 | http:80");
}

/// A server that will not have some field of a leader Service.
struct Server {
    refuses: &'static str,
    refusals: Refusals,
    refused: usize,
    told: usize,
}

impl Server {
    fn new(refuses: &'static str) -> Self {
        Self {
            refuses,
            refusals: Refusals::default(),
            refused: 0,
            told: 0,
        }
    }

    /// Works until nothing is left to be written at this moment.
    fn settle(&mut self, lab: &mut Lab) {
        for _ in 0..20 {
            lab.look();
            let plan = plan_past(lab, &self.refusals);
            let mut wanted: Vec<_> = plan.writes.iter().map(|it| it.target.clone()).collect();
            wanted.extend(plan.waiting.into_iter().map(|waiting| waiting.target));
            self.refusals.keep(&wanted);
            if plan.writes.is_empty() {
                return;
            }
            for write in &plan.writes {
                self.send(lab, write);
            }
        }
        panic!("no end");
    }

    fn send(&mut self, lab: &mut Lab, write: &Write) {
        let now = lab.world.now().moment;
        let is_refused = |op: &Op| op.path().starts_with(self.refuses);
        let is_service = write.target.kind == Kind::Service;
        if matches!(&write.action, Action::Patch { ops, .. } if is_service && ops.iter().any(is_refused))
        {
            self.refused += 1;
            self.told += usize::from(self.refusals.note(write, WriteFailure::Refused("no"), now));
            return;
        }
        let done: Result<(), Refusal> = lab.world.apply(write);
        done.expect("accepted");
        self.refusals.accept(write);
    }
}

/// §4: a refused field holds up nothing else, now or in any later failover.
#[test]
fn a_refused_type_holds_up_neither_ports_nor_who_leads() {
    let mut lab = lab(|_| {});
    let mut server = Server::new("/spec/type");
    set_ports(&mut lab, &json!([port("sql", 80, "web")]));
    lab.world.edit_service("s", |object| {
        annotate(object, "leader-service-type", "NodePort");
        object["metadata"]["labels"]["team"] = "other".into();
    });
    server.settle(&mut lab);
    assert_eq!(shown(&lab), "sql=8080 | sql:80");
    let service = &lab.world.services["s-leader"];
    assert_eq!(service["metadata"]["labels"]["team"], "other");
    assert_eq!((server.refused, server.told), (2, 1), "the whole, the type");
    lab.world.delete_pod("a");
    server.settle(&mut lab);
    let leader = |lab: &Lab| {
        lab.world.services["s-leader"]["metadata"]["annotations"]["zen-lead.io/leader-pod-name"]
            .clone()
    };
    assert_eq!(
        (lab.objects(), leader(&lab)),
        ("s-leader: b".into(), json!("b"))
    );
    assert_eq!(
        (server.refused, server.told),
        (2, 1),
        "not asked again for it"
    );
    server.refuses = "nothing";
    lab.world.advance(std::time::Duration::from_secs(1));
    server.settle(&mut lab);
    let service = &lab.world.services["s-leader"];
    assert_eq!(service["spec"]["type"], "NodePort", "with back-off");
    assert_eq!(server.refusals, Refusals::default());
}

/// §4: if the Service is refused, the slice keeps both names, and a failover has both as well.
#[test]
fn refused_ports_leave_a_slice_with_both_names() {
    let mut lab = lab(|_| {});
    let mut server = Server::new("/spec/ports");
    set_ports(&mut lab, &json!([port("sql", 80, "web")]));
    server.settle(&mut lab);
    assert_eq!(shown(&lab), "http=8080 sql=8080 | http:80");
    lab.world
        .edit_pod("b", |pod| pod.ports = vec![("web".into(), 9090)]);
    lab.world.delete_pod("a");
    lab.look();
    let kinds: Vec<Kind> = plan_past(&lab, &server.refusals)
        .writes
        .iter()
        .map(|write| write.target.kind)
        .collect();
    assert_eq!(kinds, [Kind::Slice], "on a failover the slice goes alone");
    server.settle(&mut lab);
    assert_eq!(shown(&lab), "http=9090 sql=9090 | http:80");
    assert_eq!(lab.objects(), "s-leader: b");
    // A user deletes the slice: the new one knows both as well.
    lab.world.delete(Kind::Slice, "s-leader");
    server.settle(&mut lab);
    assert_eq!(shown(&lab), "http=9090 sql=9090 | http:80");
    assert_eq!(server.told, 1);
}

/// What is written in one part does not make the memory of what is mirrored forget another one.
#[test]
fn a_label_that_cannot_go_yet_is_not_forgotten() {
    let mut lab = lab(|body| body["metadata"]["labels"] = json!({"team": "s", "tier": "x"}));
    let mut server = Server::new("/metadata/labels");
    lab.world.edit_service("s", |object| {
        object["metadata"]["labels"] = json!({"team": "s"});
        object["metadata"]["annotations"]["note"] = "n".into();
    });
    server.settle(&mut lab);
    let meta = |lab: &Lab| lab.world.services["s-leader"]["metadata"].clone();
    assert_eq!(meta(&lab)["annotations"]["note"], "n");
    assert_eq!(meta(&lab)["labels"]["tier"], "x");
    server.refuses = "nothing";
    lab.crash();
    lab.world.advance(std::time::Duration::from_secs(1));
    server.settle(&mut lab);
    assert_eq!(meta(&lab)["labels"]["tier"], Value::Null);
}
