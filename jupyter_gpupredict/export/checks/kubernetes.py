"""Shapes of Kubernetes' own objects: the pod with all its fields, and the kinds written here."""

from __future__ import annotations

from jupyter_gpupredict.export.checks.shapes import (
    Shape,
    amount,
    anything,
    choice,
    fields,
    flag,
    listing,
    mapping,
    natural,
    one_of,
    record,
    text,
    whole,
)

METADATA = record(
    fields(
        "name generateName namespace uid resourceVersion selfLink",
        text,
        labels=mapping(),
        annotations=mapping(),
        finalizers=listing(text),
    )
    | fields("creationTimestamp generation managedFields ownerReferences deletionTimestamp")
)
_KEY = record(fields("", name=text, key=text, optional=flag), "name key")
VALUE_FROM = choice(
    fieldRef=record(fields("apiVersion fieldPath", text), "fieldPath"),
    resourceFieldRef=record(fields("resource containerName", text, divisor=amount), "resource"),
    configMapKeyRef=_KEY,
    secretKeyRef=_KEY,
    fileKeyRef=record(fields("volumeName path key", text, optional=flag), "volumeName path key"),
)
ENV = record(fields("", name=text, value=text, valueFrom=VALUE_FROM), "name")
ENV_FROM = record(
    fields(
        "",
        prefix=text,
        secretRef=record(fields("", name=text, optional=flag)),
        configMapRef=record(fields("", name=text, optional=flag)),
    )
)
PORT = record(fields("name protocol hostIP", text, containerPort=natural, hostPort=natural))
RESOURCES = record(
    fields(
        "",
        limits=mapping(amount),
        requests=mapping(amount),
        claims=listing(record(fields("name request", text), "name")),
    )
)
MOUNT = record(
    fields("name mountPath subPath subPathExpr mountPropagation recursiveReadOnly", text)
    | {"readOnly": flag},
    "name mountPath",
)
CONTAINER_FIELDS = fields(
    "lifecycle livenessProbe readinessProbe startupProbe resizePolicy securityContext "
    "volumeDevices restartPolicyRules",
    name=text,
    image=text,
    imagePullPolicy=one_of("Always", "Never", "IfNotPresent"),
    command=listing(text),
    args=listing(text),
    workingDir=text,
    ports=listing(PORT),
    env=listing(ENV),
    envFrom=listing(ENV_FROM),
    resources=RESOURCES,
    volumeMounts=listing(MOUNT),
    restartPolicy=text,
    stdin=flag,
    stdinOnce=flag,
    tty=flag,
    terminationMessagePath=text,
    terminationMessagePolicy=text,
)
CONTAINER = record(CONTAINER_FIELDS, "name image")
UNNAMED_CONTAINER = record(CONTAINER_FIELDS, "image")
VOLUME = record(
    fields(
        "awsElasticBlockStore azureDisk azureFile cephfs cinder configMap csi downwardAPI emptyDir "
        "ephemeral fc flexVolume flocker gcePersistentDisk gitRepo glusterfs image iscsi nfs "
        "persistentVolumeClaim photonPersistentDisk portworxVolume projected quobyte rbd scaleIO "
        "secret storageos vsphereVolume",
        name=text,
        hostPath=record(fields("path type", text), "path"),
    ),
    "name",
)
TOLERATION = record(
    fields(
        "",
        key=text,
        operator=one_of("Exists", "Equal"),
        value=text,
        effect=one_of("NoSchedule", "PreferNoSchedule", "NoExecute"),
        tolerationSeconds=whole,
    )
)
_TERM = record(
    fields(
        "namespaceSelector",
        topologyKey=text,
        labelSelector=record(fields("matchExpressions", matchLabels=mapping(text))),
        namespaces=listing(text),
        matchLabelKeys=listing(text),
        mismatchLabelKeys=listing(text),
    ),
    "topologyKey",
)
_BETWEEN_PODS = record(
    {
        "requiredDuringSchedulingIgnoredDuringExecution": listing(_TERM),
        "preferredDuringSchedulingIgnoredDuringExecution": listing(
            record({"weight": natural, "podAffinityTerm": _TERM}, "weight podAffinityTerm")
        ),
    }
)
AFFINITY = record(
    {"nodeAffinity": anything, "podAffinity": _BETWEEN_PODS, "podAntiAffinity": _BETWEEN_PODS}
)
CLAIM = record(fields("name resourceClaimName resourceClaimTemplateName", text), "name")
POD_FIELDS = fields(
    "dnsConfig ephemeralContainers hostAliases imagePullSecrets os overhead "
    "readinessGates resources schedulingGates securityContext topologySpreadConstraints",
    affinity=AFFINITY,
    containers=listing(CONTAINER, least=1),
    initContainers=listing(CONTAINER),
    volumes=listing(VOLUME),
    tolerations=listing(TOLERATION),
    resourceClaims=listing(CLAIM),
    nodeSelector=mapping(),
    activeDeadlineSeconds=whole,
    priority=whole,
    terminationGracePeriodSeconds=whole,
) | {
    **fields(
        "dnsPolicy hostname nodeName preemptionPolicy priorityClassName restartPolicy "
        "runtimeClassName schedulerName serviceAccount serviceAccountName subdomain "
        "hostnameOverride",
        text,
    ),
    **fields(
        "automountServiceAccountToken enableServiceLinks hostIPC hostNetwork hostPID hostUsers "
        "setHostnameAsFQDN shareProcessNamespace",
        flag,
    ),
}
POD = record(POD_FIELDS, "containers")
TEMPLATE = record({"metadata": METADATA, "spec": POD}, "spec")
JOB_SPEC = record(
    fields(
        "podFailurePolicy selector successPolicy",
        template=TEMPLATE,
        suspend=flag,
        manualSelector=flag,
        completionMode=text,
        managedBy=text,
        podReplacementPolicy=text,
    )
    | fields(
        "activeDeadlineSeconds backoffLimit backoffLimitPerIndex completions maxFailedIndexes "
        "parallelism ttlSecondsAfterFinished",
        natural,
    ),
    "template",
)
DEVICES = record(
    fields(
        "constraints",
        requests=listing(
            record(
                fields(
                    "firstAvailable",
                    name=text,
                    exactly=record(
                        fields(
                            "selectors tolerations capacity",
                            deviceClassName=text,
                            allocationMode=text,
                            count=natural,
                            adminAccess=flag,
                        ),
                        "deviceClassName",
                    ),
                ),
                "name",
            )
        ),
        config=listing(
            record(
                {
                    "requests": listing(text),
                    "opaque": record(
                        {"driver": text, "parameters": mapping(anything)},
                        "driver parameters",
                    ),
                }
            )
        ),
    )
)
CLAIM_SPEC = record({"devices": DEVICES})
SERVICE_SPEC = record(
    fields(
        "clusterIP type sessionAffinity externalName externalTrafficPolicy internalTrafficPolicy "
        "ipFamilyPolicy loadBalancerClass loadBalancerIP trafficDistribution",
        text,
        selector=mapping(),
        ports=listing(
            record(
                fields(
                    "name protocol appProtocol",
                    text,
                    port=natural,
                    nodePort=natural,
                    targetPort=anything,
                ),
                "port",
            )
        ),
        healthCheckNodePort=natural,
        sessionAffinityConfig=anything,
        publishNotReadyAddresses=flag,
        allocateLoadBalancerNodePorts=flag,
    )
    | fields("clusterIPs externalIPs ipFamilies loadBalancerSourceRanges", listing(text))
)


def kubernetes_object(spec: Shape, **more: Shape) -> Shape:
    """Return the shape of an object with metadata and a spec."""
    top = {"apiVersion": text, "kind": text, "metadata": METADATA, "spec": spec, **more}
    return record(top, "metadata spec")


KINDS = {
    ("batch/v1", "Job"): kubernetes_object(JOB_SPEC),
    ("batch/v1", "CronJob"): record(
        {
            "apiVersion": text,
            "kind": text,
            "metadata": METADATA,
            "spec": record(
                fields(
                    "schedule timeZone concurrencyPolicy",
                    text,
                    suspend=flag,
                    startingDeadlineSeconds=natural,
                    successfulJobsHistoryLimit=natural,
                    failedJobsHistoryLimit=natural,
                    jobTemplate=record({"metadata": METADATA, "spec": JOB_SPEC}, "spec"),
                ),
                "schedule jobTemplate",
            ),
        },
        "metadata spec",
    ),
    ("v1", "Pod"): kubernetes_object(POD),
    ("v1", "Service"): kubernetes_object(SERVICE_SPEC),
    ("v1", "ConfigMap"): record(
        {
            "apiVersion": text,
            "kind": text,
            "metadata": METADATA,
            "data": mapping(),
            "binaryData": mapping(),
            "immutable": flag,
        },
        "metadata",
    ),
    ("resource.k8s.io/v1", "ResourceClaimTemplate"): record(
        {
            "apiVersion": text,
            "kind": text,
            "metadata": METADATA,
            "spec": record({"metadata": METADATA, "spec": CLAIM_SPEC}, "spec"),
        },
        "metadata spec",
    ),
    ("resource.k8s.io/v1", "ResourceClaim"): kubernetes_object(CLAIM_SPEC),
}
