"""Shapes of the objects of serverless platforms and schedulers.

The fields are those that the platforms document. Where a platform's own definition accepts any key
(Nuclio, FaST-GShare) this list is the only thing that notices a slip of the pen.
"""

from __future__ import annotations

from jupyter_gpupredict.exporters.checks.kubernetes import (
    CONTAINER,
    ENV,
    ENV_FROM,
    METADATA,
    MOUNT,
    POD,
    POD_FIELDS,
    RESOURCES,
    TEMPLATE,
    TOLERATION,
    UNNAMED_CONTAINER,
    VOLUME,
)
from jupyter_gpupredict.exporters.checks.shapes import (
    Shape,
    anything,
    fields,
    flag,
    listing,
    mapping,
    natural,
    number,
    one_of,
    record,
    size,
    text,
)


def _object(spec: Shape, **more: Shape) -> Shape:
    top = {"apiVersion": text, "kind": text, "metadata": METADATA, "spec": spec, **more}
    return record(top, "metadata spec")


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
KNATIVE = _object(
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
KSERVE = _object(
    record(
        {"predictor": record(_PREDICTOR), "transformer": anything, "explainer": anything},
        "predictor",
    )
)
_RAY_GROUP = fields(
    "headService resources labels scaleStrategy idleTimeoutSeconds",
    rayStartParams=mapping(),
    template=TEMPLATE,
    serviceType=text,
    enableIngress=flag,
    groupName=text,
    suspend=flag,
)
_RAY_GROUP |= fields("replicas minReplicas maxReplicas numOfHosts", natural)
RAY_JOB = _object(
    record(
        fields(
            "entrypoint runtimeEnvYAML jobId submissionMode entrypointResources managedBy",
            text,
            entrypointNumCpus=number,
            entrypointNumGpus=number,
            shutdownAfterJobFinishes=flag,
            suspend=flag,
            metadata=mapping(),
            clusterSelector=mapping(),
            submitterPodTemplate=TEMPLATE,
            submitterConfig=anything,
            deletionPolicy=anything,
            deletionStrategy=anything,
            rayClusterSpec=record(
                fields(
                    "autoscalerOptions headServiceAnnotations gcsFaultToleranceOptions authOptions "
                    "upgradeStrategy",
                    rayVersion=text,
                    managedBy=text,
                    enableInTreeAutoscaling=flag,
                    suspend=flag,
                    headGroupSpec=record(_RAY_GROUP, "template"),
                    workerGroupSpecs=listing(record(_RAY_GROUP, "groupName template")),
                ),
                "headGroupSpec",
            ),
        )
        | fields("ttlSecondsAfterFinished activeDeadlineSeconds backoffLimit", natural)
    )
)
VOLCANO_JOB = _object(
    record(
        fields(
            "policies plugins volumes networkTopology runningEstimate",
            schedulerName=text,
            queue=text,
            priorityClassName=text,
            tasks=listing(
                record(
                    fields(
                        "policies dependsOn partitionPolicy",
                        name=text,
                        topologyPolicy=text,
                        replicas=natural,
                        minAvailable=natural,
                        maxRetry=natural,
                        template=TEMPLATE,
                    )
                )
            ),
        )
        | fields("minAvailable maxRetry ttlSecondsAfterFinished minSuccess", natural)
    )
)
_REFERENCE = record(fields("name namespace resourceversion", text))
FISSION_FUNCTION = _object(
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
FISSION_ENVIRONMENT = _object(
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
FASTPOD = _object(record({"replicas": natural, "podSpec": POD, "selector": anything}, "podSpec"))
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
NUCLIO = _object(
    NUCLIO_SPEC, status=record({"state": one_of("waitingForResourceConfiguration")}, "state")
)
_SMALL = record({"memory": size, "cpu": size})
OPENFAAS_FUNCTION = _object(
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
OPENFAAS_PROFILE = _object(
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
CLOUDRUN_JOB = _object(
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
CLOUDRUN_SERVICE = _object(
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
_SHARE = record({"memory": natural, "maxComputePercent": natural}, "memory")
_ECS_CONTAINER = record(
    fields(
        "repositoryCredentials restartPolicy environmentFiles mountPoints volumesFrom "
        "linuxParameters secrets dependsOn extraHosts dockerLabels ulimits logConfiguration "
        "healthCheck systemControls firelensConfiguration portMappings",
        essential=flag,
        environment=listing(record({"name": text, "value": anything}, "name value")),
        resourceRequirements=listing(
            record(
                {
                    "type": one_of("GPU", "InferenceAccelerator", "NeuronDevice"),
                    "value": text,
                    "sharingStrategy": record({"nvidiaMps": _SHARE}),
                },
                "type",
            )
        ),
    )
    | fields("name image hostname user workingDirectory versionConsistency", text)
    | fields(
        "links entryPoint command dnsServers dnsSearchDomains dockerSecurityOptions "
        "credentialSpecs",
        listing(text),
    )
    | fields("cpu memory memoryReservation startTimeout stopTimeout", natural)
    | fields(
        "disableNetworking privileged readonlyRootFilesystem interactive pseudoTerminal", flag
    ),
    "name image",
)
ECS_TASK = record(
    fields(
        "volumes placementConstraints proxyConfiguration inferenceAccelerators ephemeralStorage "
        "runtimePlatform",
        containerDefinitions=listing(_ECS_CONTAINER, least=1),
        requiresCompatibilities=listing(one_of("EC2", "FARGATE", "EXTERNAL", "MANAGED_INSTANCES")),
        networkMode=one_of("bridge", "host", "awsvpc", "none"),
        tags=listing(record({"key": text, "value": text}, "key value")),
        enableFaultInjection=flag,
    )
    | fields("family taskRoleArn executionRoleArn cpu memory pidMode ipcMode", text),
    "family containerDefinitions",
)
GPU_CONFIG = record(
    {
        "apiVersion": one_of("resource.nvidia.com/v1beta1"),
        "kind": one_of("GpuConfig"),
        "sharing": record(
            {
                "strategy": one_of("MPS", "TimeSlicing"),
                "mpsConfig": record(
                    {
                        "defaultActiveThreadPercentage": natural,
                        "defaultPinnedDeviceMemoryLimit": anything,
                        "defaultPerDevicePinnedMemoryLimit": mapping(anything),
                    }
                ),
                "timeSlicingConfig": record(
                    {"interval": one_of("Default", "Short", "Medium", "Long")}
                ),
            },
            "strategy",
        ),
    },
    "apiVersion kind",
)
PLUGIN_CONFIG = record(
    {
        "version": one_of("v1"),
        "flags": anything,
        "sharing": record(
            {
                "mps": record(
                    {
                        "renameByDefault": flag,
                        "failRequestsGreaterThanOne": flag,
                        "resources": listing(
                            record(
                                {"name": one_of("nvidia.com/gpu"), "replicas": natural},
                                "name replicas",
                            ),
                            least=1,
                        ),
                    },
                    "resources",
                )
            },
            "mps",
        ),
    },
    "version sharing",
)
_CLIENT = {"pinned_memory_limit": text, "active_thread_percentage": text, "client_priority": text}
MPS_CONFIG = record(
    {
        "schema_version": one_of("1.0"),
        "servers": mapping(
            record(
                {
                    **_CLIENT,
                    "allowed_devices": text,
                    "uid": natural,
                    "locality_domains": flag,
                    "namespaces": mapping(record(_CLIENT, "pinned_memory_limit")),
                },
                "allowed_devices pinned_memory_limit",
            )
        ),
    },
    "schema_version servers",
)
KINDS: dict[tuple[str, str], Shape] = {
    ("serving.knative.dev/v1", "Service"): KNATIVE,
    ("serving.kserve.io/v1beta1", "InferenceService"): KSERVE,
    ("ray.io/v1", "RayJob"): RAY_JOB,
    ("batch.volcano.sh/v1alpha1", "Job"): VOLCANO_JOB,
    ("fission.io/v1", "Function"): FISSION_FUNCTION,
    ("fission.io/v1", "Environment"): FISSION_ENVIRONMENT,
    ("fastgshare.caps.in.tum/v1", "FaSTPod"): FASTPOD,
    ("openfaas.com/v1", "Function"): OPENFAAS_FUNCTION,
    ("openfaas.com/v1", "Profile"): OPENFAAS_PROFILE,
    ("run.googleapis.com/v1", "Job"): CLOUDRUN_JOB,
}
