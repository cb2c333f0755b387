"""Shapes of what schedules on clusters, and of the files that divide a GPU there.

The fields are those that the platforms document. Where a definition accepts any key (FaST-GShare,
the opaque parameters of a claim) this list is the only thing that notices a slip of the pen.
"""

from __future__ import annotations

from jupyter_gpupredict.export.checks.kubernetes import (
    POD,
    TEMPLATE,
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
    number,
    one_of,
    record,
    text,
    whole,
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
RAY_JOB = kubernetes_object(
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
_POLICIES = listing(
    record(fields("event action timeout", text, events=listing(text), exitCode=whole), "action")
)
VOLCANO_JOB = kubernetes_object(
    record(
        fields(
            "volumes networkTopology runningEstimate",
            policies=_POLICIES,
            plugins=mapping(listing(text)),
            schedulerName=text,
            queue=text,
            priorityClassName=text,
            tasks=listing(
                record(
                    fields(
                        "dependsOn partitionPolicy",
                        policies=_POLICIES,
                        name=text,
                        topologyPolicy=text,
                        replicas=natural,
                        minAvailable=natural,
                        maxRetry=natural,
                        template=TEMPLATE,
                    ),
                    "template",
                )
            ),
        )
        | fields("minAvailable maxRetry ttlSecondsAfterFinished minSuccess", natural)
    )
)
FASTPOD = kubernetes_object(
    record({"replicas": natural, "podSpec": POD, "selector": anything}, "podSpec")
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
    ("ray.io/v1", "RayJob"): RAY_JOB,
    ("batch.volcano.sh/v1alpha1", "Job"): VOLCANO_JOB,
    ("fastgshare.caps.in.tum/v1", "FaSTPod"): FASTPOD,
}
