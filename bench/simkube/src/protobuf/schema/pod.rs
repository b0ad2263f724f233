//! Pods: also what nothing here reads, and makes a pod as long as pods are.

use super::{META, NAME};
use crate::protobuf::Form::{
    Embedded, Flag, FlagIf, IntOrText, Map, Message, MessageIf, Messages, Number, NumberIf,
    Quantities, Text, TextIf, Texts, Time, TimeIf,
};
use crate::protobuf::Schema;

pub(super) const POD: &Schema = &[
    ("metadata", 1, Message(META)),
    ("spec", 2, Message(POD_SPEC)),
    ("status", 3, Message(POD_STATUS)),
];

const POD_SPEC: &Schema = &[
    ("volumes", 1, Messages(VOLUME)),
    ("containers", 2, Messages(CONTAINER)),
    ("restartPolicy", 3, Text),
    ("terminationGracePeriodSeconds", 4, NumberIf),
    ("dnsPolicy", 6, Text),
    ("nodeSelector", 7, Map),
    ("serviceAccountName", 8, Text),
    ("serviceAccount", 9, Text),
    ("nodeName", 10, Text),
    ("hostNetwork", 11, Flag),
    ("hostPID", 12, Flag),
    ("hostIPC", 13, Flag),
    ("securityContext", 14, MessageIf(POD_SECURITY)),
    ("hostname", 16, Text),
    ("subdomain", 17, Text),
    ("schedulerName", 19, Text),
    ("initContainers", 20, Messages(CONTAINER)),
    ("tolerations", 22, Messages(TOLERATION)),
    ("priorityClassName", 24, Text),
    ("priority", 25, NumberIf),
    ("enableServiceLinks", 30, FlagIf),
    ("preemptionPolicy", 31, TextIf),
];

const POD_SECURITY: &Schema = &[
    ("runAsUser", 2, NumberIf),
    ("runAsNonRoot", 3, FlagIf),
    ("fsGroup", 5, NumberIf),
    ("runAsGroup", 6, NumberIf),
];

const TOLERATION: &Schema = &[
    ("key", 1, Text),
    ("operator", 2, Text),
    ("value", 3, Text),
    ("effect", 4, Text),
    ("tolerationSeconds", 5, NumberIf),
];

const VOLUME: &Schema = &[("name", 1, Text), ("", 2, Embedded(VOLUME_SOURCE))];

const VOLUME_SOURCE: &Schema = &[
    ("emptyDir", 2, MessageIf(&[("medium", 1, Text)])),
    ("configMap", 19, MessageIf(CONFIG_VOLUME)),
    ("projected", 26, MessageIf(PROJECTED)),
];

const CONFIG_VOLUME: &Schema = &[
    ("", 1, Embedded(NAME)),
    ("items", 2, Messages(KEY_TO_PATH)),
    ("defaultMode", 3, NumberIf),
];

const KEY_TO_PATH: &Schema = &[("key", 1, Text), ("path", 2, Text), ("mode", 3, NumberIf)];

const PROJECTED: &Schema = &[
    ("sources", 1, Messages(PROJECTION)),
    ("defaultMode", 2, NumberIf),
];

const PROJECTION: &Schema = &[
    (
        "downwardAPI",
        2,
        MessageIf(&[("items", 1, Messages(DOWNWARD_FILE))]),
    ),
    (
        "configMap",
        3,
        MessageIf(&[("", 1, Embedded(NAME)), ("items", 2, Messages(KEY_TO_PATH))]),
    ),
    (
        "serviceAccountToken",
        4,
        MessageIf(&[
            ("audience", 1, Text),
            ("expirationSeconds", 2, NumberIf),
            ("path", 3, Text),
        ]),
    ),
];

const DOWNWARD_FILE: &Schema = &[("path", 1, Text), ("fieldRef", 2, MessageIf(FIELD_REF))];

const FIELD_REF: &Schema = &[("apiVersion", 1, Text), ("fieldPath", 2, Text)];

const CONTAINER: &Schema = &[
    ("name", 1, Text),
    ("image", 2, Text),
    ("command", 3, Texts),
    ("args", 4, Texts),
    ("workingDir", 5, Text),
    ("ports", 6, Messages(CONTAINER_PORT)),
    ("env", 7, Messages(ENV)),
    ("resources", 8, Message(RESOURCES)),
    ("volumeMounts", 9, Messages(MOUNT)),
    ("livenessProbe", 10, MessageIf(PROBE)),
    ("readinessProbe", 11, MessageIf(PROBE)),
    ("terminationMessagePath", 13, Text),
    ("imagePullPolicy", 14, Text),
    ("securityContext", 15, MessageIf(SECURITY)),
    ("stdin", 16, Flag),
    ("stdinOnce", 17, Flag),
    ("tty", 18, Flag),
    ("terminationMessagePolicy", 20, Text),
    ("restartPolicy", 24, TextIf),
];

const CONTAINER_PORT: &Schema = &[
    ("name", 1, Text),
    ("hostPort", 2, Number),
    ("containerPort", 3, Number),
    ("protocol", 4, Text),
    ("hostIP", 5, Text),
];

const ENV: &Schema = &[
    ("name", 1, Text),
    ("value", 2, Text),
    (
        "valueFrom",
        3,
        MessageIf(&[
            ("fieldRef", 1, MessageIf(FIELD_REF)),
            (
                "secretKeyRef",
                4,
                MessageIf(&[("", 1, Embedded(NAME)), ("key", 2, Text)]),
            ),
        ]),
    ),
];

const RESOURCES: &Schema = &[("limits", 1, Quantities), ("requests", 2, Quantities)];

const MOUNT: &Schema = &[
    ("name", 1, Text),
    ("readOnly", 2, Flag),
    ("mountPath", 3, Text),
    ("subPath", 4, Text),
    ("subPathExpr", 6, Text),
];

const PROBE: &Schema = &[
    ("", 1, Embedded(&[("httpGet", 2, MessageIf(HTTP_GET))])),
    ("initialDelaySeconds", 2, Number),
    ("timeoutSeconds", 3, Number),
    ("periodSeconds", 4, Number),
    ("successThreshold", 5, Number),
    ("failureThreshold", 6, Number),
];

const HTTP_GET: &Schema = &[
    ("path", 1, Text),
    ("port", 2, IntOrText),
    ("host", 3, Text),
    ("scheme", 4, Text),
];

const SECURITY: &Schema = &[
    (
        "capabilities",
        1,
        MessageIf(&[("add", 1, Texts), ("drop", 2, Texts)]),
    ),
    ("privileged", 2, FlagIf),
    ("runAsUser", 4, NumberIf),
    ("runAsNonRoot", 5, FlagIf),
    ("readOnlyRootFilesystem", 6, FlagIf),
    ("allowPrivilegeEscalation", 7, FlagIf),
];

const POD_STATUS: &Schema = &[
    ("phase", 1, Text),
    ("conditions", 2, Messages(POD_CONDITION)),
    ("message", 3, Text),
    ("reason", 4, Text),
    ("hostIP", 5, Text),
    ("podIP", 6, Text),
    ("startTime", 7, TimeIf),
    ("containerStatuses", 8, Messages(CONTAINER_STATUS)),
    ("qosClass", 9, Text),
    ("nominatedNodeName", 11, Text),
    ("podIPs", 12, Messages(IP)),
    ("hostIPs", 16, Messages(IP)),
    ("observedGeneration", 17, Number),
];

const IP: &Schema = &[("ip", 1, Text)];

const POD_CONDITION: &Schema = &[
    ("type", 1, Text),
    ("status", 2, Text),
    ("lastProbeTime", 3, Time),
    ("lastTransitionTime", 4, Time),
    ("reason", 5, Text),
    ("message", 6, Text),
    ("observedGeneration", 7, Number),
];

const CONTAINER_STATUS: &Schema = &[
    ("name", 1, Text),
    ("state", 2, Message(CONTAINER_STATE)),
    ("lastState", 3, Message(CONTAINER_STATE)),
    ("ready", 4, Flag),
    ("restartCount", 5, Number),
    ("image", 6, Text),
    ("imageID", 7, Text),
    ("containerID", 8, Text),
    ("started", 9, FlagIf),
    ("resources", 11, MessageIf(RESOURCES)),
];

const CONTAINER_STATE: &Schema = &[
    (
        "waiting",
        1,
        MessageIf(&[("reason", 1, Text), ("message", 2, Text)]),
    ),
    ("running", 2, MessageIf(&[("startedAt", 1, Time)])),
];
