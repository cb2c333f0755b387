"""Shapes of the objects of serverless platforms.

The fields are those that the platforms document. Where a platform's own definition accepts any key
(Nuclio) this list is the only thing that notices a slip of the pen.
"""

from __future__ import annotations

from jupyter_gpupredict.export.checks.kubernetes import (
    CONTAINER,
    ENV,
    ENV_FROM,
    METADATA,
    MOUNT,
    POD,
    POD_FIELDS,
    RESOURCES,
    TOLERATION,
    UNNAMED_CONTAINER,
    VOLUME,
    kubernetes_object,
)
from jupyter_gpupredict.export.checks.shapes import (
    Shape,
    anything,
    fields,
    flag,
    listing,
    mapping,
    natural,
    one_of,
    record,
    size,
    text,
)

_REVISION_POD = frozenset(
    {
        "affinity", "automountServiceAccountToken", "dnsConfig", "dnsPolicy", "enableServiceLinks",
        "hostAliases", "hostIPC", "hostNetwork", "hostPID", "imagePullSecrets", "initContainers",
        "nodeSelector", "priorityClassName", "runtimeClassName", "schedulerName",
        "securityContext", "serviceAccountName", "shareProcessNamespace", "tolerations",
        "topologySpreadConstraints", "volumes",
    }
)  # fmt: skip
"""Pod fields that a revision has; not among them: resource claims."""
_REVISION = {key: shape for key, shape in POD_FIELDS.items() if key in _REVISION_POD} | {
    "containers": listing(UNNAMED_CONTAINER, least=1),
    **fields(
        "containerConcurrency timeoutSeconds responseStartTimeoutSeconds idleTimeoutSeconds",
        natural,
    ),
}
_TRAFFIC = listing(
    record(
        fields("revisionName tag url", text, configurationName=text, percent=natural)
        | {"latestRevision": flag}
    )
)
KNATIVE = kubernetes_object(
    record(
        {
            "template": record({"metadata": METADATA, "spec": record(_REVISION, "containers")}),
            "traffic": _TRAFFIC,
        },
        "template",
    )
)
_PREDICTOR = POD_FIELDS | fields(
    "batcher logger deploymentStrategy workerSpec model sklearn xgboost tensorflow pytorch triton "
    "onnx huggingface lightgbm paddle pmml autoScaling",
    containers=listing(CONTAINER, least=1),
    labels=mapping(),
    annotations=mapping(),
    scaleMetric=text,
    scaleMetricType=text,
)
_PREDICTOR |= fields(
    "minReplicas maxReplicas scaleTarget containerConcurrency timeout canaryTrafficPercent", natural
)
KSERVE = kubernetes_object(
    record(
        {"predictor": record(_PREDICTOR), "transformer": anything, "explainer": anything},
        "predictor",
    )
)
_REFERENCE = record(fields("name namespace resourceversion", text))
FISSION_FUNCTION = kubernetes_object(
    record(
        fields(
            "secrets configmaps streaming toolConfig",
            environment=_REFERENCE,
            package=record({"packageref": _REFERENCE, "functionName": text}),
            resources=RESOURCES,
            InvokeStrategy=record(
                {
                    "StrategyType": one_of("execution"),
                    "ExecutionStrategy": record(
                        fields(
                            "Metrics hpaMetrics hpaBehavior",
                            ExecutorType=one_of("poolmgr", "newdeploy", "container"),
                            MinScale=natural,
                            MaxScale=natural,
                            TargetCPUPercent=natural,
                            SpecializationTimeout=natural,
                        )
                    ),
                }
            ),
            env=listing(ENV),
            envFrom=listing(ENV_FROM),
            podspec=POD,
            onceOnly=flag,
        )
        | fields("functionTimeout idletimeout concurrency requestsPerPod retainPods", natural),
        "environment",
    )
)
FISSION_ENVIRONMENT = kubernetes_object(
    record(
        fields(
            "builder allowedFunctionsPerContainer",
            version=natural,
            runtime=record(fields("podspec", image=text, container=CONTAINER), "image"),
            resources=RESOURCES,
            poolsize=natural,
            terminationGracePeriod=natural,
            keeparchive=flag,
            allowAccessToExternalNetwork=flag,
            imagepullsecret=text,
        ),
        "version runtime",
    )
)
NUCLIO_SPEC = record(
    fields(
        "dataBindings loggerSinks runtimeAttributes securityContext affinity podDisruptionBudget "
        "platform customScalingMetricSpecs autoScaleMetrics initContainers sidecars devices",
        env=listing(ENV),
        envFrom=listing(ENV_FROM),
        resources=RESOURCES,
        volumes=listing(record({"volume": VOLUME, "volumeMount": MOUNT}, "volume volumeMount")),
        tolerations=listing(TOLERATION),
        nodeSelector=mapping(),
        scaleToZero=anything,
        triggers=mapping(
            record(
                fields(
                    "attributes partitions batch explicitAckMode",
                    annotations=mapping(),
                    disabled=flag,
                    paths=listing(text),
                )
                | fields(
                    "class kind name url username password secret workerAllocatorName "
                    "workerTerminationTimeout waitExplicitAckDuringRebalanceTimeout",
                    text,
                )
                | fields(
                    "numWorkers maxWorkers workerAvailabilityTimeoutMilliseconds total_tasks "
                    "max_task_allocation",
                    natural,
                ),
                "kind",
            )
        ),
        build=record(
            fields(
                "args directives dependencies codeEntryAttributes runtimeAttributes flags "
                "timestamp",
                commands=listing(text),
                addedPaths=mapping(),
                scriptPaths=anything,
            )
            | fields(
                "path functionSourceCode functionConfigPath tempDir registry image baseImage "
                "baseImageRegistry onbuildImage codeEntryType mode builderServiceAccount",
                text,
            )
            | fields("noCache noCleanup noBaseImagesPull offline", flag)
            | fields("buildTimeoutSeconds", natural)
        ),
        deploymentStrategy=record(
            {"type": one_of("Recreate", "RollingUpdate"), "rollingUpdate": anything}
        ),
    )
    | fields(
        "description handler runtime image imageHash version alias runRegistry imagePullSecrets "
        "imagePullPolicy serviceAccount serviceType eventTimeout nodeName priorityClassName "
        "preemptionPolicy preemptionMode dealerURI",
        text,
    )
    | fields(
        "disable publish hostIPC disableDefaultHTTPTrigger disableSensitiveFieldsMasking "
        "waitReadinessTimeoutBeforeFailure",
        flag,
    )
    | fields("replicas minReplicas maxReplicas targetCPU readinessTimeoutSeconds", natural),
    "handler runtime",
)
NUCLIO = kubernetes_object(
    NUCLIO_SPEC, status=record({"state": one_of("waitingForResourceConfiguration")}, "state")
)
_SMALL = record({"memory": size, "cpu": size})
OPENFAAS_FUNCTION = kubernetes_object(
    record(
        fields(
            "",
            name=text,
            image=text,
            environment=mapping(anything),
            labels=mapping(),
            annotations=mapping(),
            limits=_SMALL,
            requests=_SMALL,
            constraints=listing(text),
            secrets=listing(text),
            readOnlyRootFilesystem=flag,
        ),
        "name image",
    )
)
OPENFAAS_PROFILE = kubernetes_object(
    record(
        fields(
            "affinity podSecurityContext topologySpreadConstraints dnsPolicy dnsConfig strategy",
            runtimeClassName=text,
            priorityClassName=text,
            tolerations=listing(TOLERATION),
            resources=RESOURCES,
        )
    )
)
OPENFAAS_STACK = record(
    {
        "version": anything,
        "provider": record({"name": one_of("openfaas"), "gateway": text}, "name"),
        "configuration": anything,
        "functions": mapping(
            record(
                fields(
                    "lang handler image fprocess namespace platforms",
                    text,
                    environment=mapping(anything),
                    environment_file=listing(text),
                    secrets=listing(text),
                    build_options=listing(text),
                    constraints=listing(text),
                    labels=mapping(),
                    annotations=mapping(),
                    build_args=mapping(),
                    build_secrets=mapping(),
                    limits=_SMALL,
                    requests=_SMALL,
                    skip_build=flag,
                    readonly_root_filesystem=flag,
                ),
                "lang handler image",
            )
        ),
    },
    "provider functions",
)
_TASK_FIELDS = {
    key: POD_FIELDS[key] for key in ("serviceAccountName", "nodeSelector", "volumes")
} | {"containers": listing(UNNAMED_CONTAINER, least=1)}
CLOUDRUN_JOB = kubernetes_object(
    record(
        {
            "template": record(
                {
                    "metadata": METADATA,
                    "spec": record(
                        {
                            "taskCount": natural,
                            "parallelism": natural,
                            "template": record(
                                {
                                    "spec": record(
                                        {
                                            **_TASK_FIELDS,
                                            "maxRetries": natural,
                                            "timeoutSeconds": text,
                                        },
                                        "containers",
                                    )
                                },
                                "spec",
                            ),
                        },
                        "template",
                    ),
                },
                "spec",
            )
        },
        "template",
    )
)
CLOUDRUN_SERVICE = kubernetes_object(
    record(
        {
            "template": record(
                {
                    "metadata": METADATA,
                    "spec": record(
                        {
                            **_TASK_FIELDS,
                            "containerConcurrency": natural,
                            "timeoutSeconds": natural,
                            "enableServiceLinks": flag,
                            "imagePullSecrets": anything,
                            "runtimeClassName": text,
                        },
                        "containers",
                    ),
                }
            ),
            "traffic": _TRAFFIC,
        },
        "template",
    )
)
KINDS: dict[tuple[str, str], Shape] = {
    ("serving.knative.dev/v1", "Service"): KNATIVE,
    ("serving.kserve.io/v1beta1", "InferenceService"): KSERVE,
    ("fission.io/v1", "Function"): FISSION_FUNCTION,
    ("fission.io/v1", "Environment"): FISSION_ENVIRONMENT,
    ("openfaas.com/v1", "Function"): OPENFAAS_FUNCTION,
    ("openfaas.com/v1", "Profile"): OPENFAAS_PROFILE,
    ("run.googleapis.com/v1", "Job"): CLOUDRUN_JOB,
}
