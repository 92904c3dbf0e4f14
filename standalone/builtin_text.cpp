// The built-in kinds, field by field. Grammar, one item a line:
//   @package            definitions below live in this package
//   = Name [root] [atomic] | description      root: has apiVersion, kind, metadata
//   field type[!] [options] | description     "!" = required
// Types: string int int64 bool number time bytes quantity intOrString object any []T map[]T Name.
// Options: merge=KEY (strategic merge by KEY, also the apply key), keys=A,B (apply keys), set,
// retain
// ($retainKeys), atomic, def=JSON (default, no blanks). Deep structures that nothing here acts on
// are `object`: stored as given, not checked inside.
#include "standalone/builtin_types.h"

namespace tango::standalone {

std::string_view builtin_text() {
  static constexpr std::string_view kMeta = R"(
@io.k8s.apimachinery.pkg.apis.meta.v1
= OwnerReference atomic | Names an object that owns this one; both are in one namespace, or the owner is cluster-scoped.
apiVersion string! | API version of the owner.
kind string! | Kind of the owner.
name string! | Name of the owner.
uid string! | UID of the owner.
controller bool | True for the one owner that manages this object.
blockOwnerDeletion bool | True when a foreground deletion of the owner waits for this object.
= ManagedFieldsEntry | Which manager owns which fields, as of one operation.
manager string | Name of the manager.
operation string | Apply or Update.
apiVersion string | API version the fields are named in.
time time | When the entry last changed.
fieldsType string | FieldsV1.
fieldsV1 object | The owned fields as a trie.
subresource string | Subresource the write went to, if any.
= ObjectMeta | Metadata that every persisted object has.
name string | Unique name within the namespace; cannot be changed.
generateName string | Prefix of a name that the server completes when name is empty.
namespace string | Namespace of the object.
selfLink string | Legacy; never set.
uid string | Unique identity over time and space, set by the server.
resourceVersion string | Opaque version of this object, for optimistic concurrency and watches.
generation int64 | Number that rises when the desired state changes.
creationTimestamp time | When the server created the object.
deletionTimestamp time | When the object is to be gone; set by the server on a graceful deletion.
deletionGracePeriodSeconds int64 | Seconds the object has to end gracefully.
labels map[]string | Keys and values for selecting objects.
annotations map[]string | Arbitrary keys and values for tools.
ownerReferences []OwnerReference merge=uid | Objects that this object depends on; it is collected when all are gone.
finalizers []string set | Must be empty before the object is removed.
clusterName string | Legacy; ignored.
managedFields []ManagedFieldsEntry | Field ownership, kept by the server.
= LabelSelectorRequirement | One term of a selector.
key string! | Label key.
operator string! | In, NotIn, Exists or DoesNotExist.
values []string | Values for In and NotIn.
= LabelSelector atomic | Label query; all terms must hold.
matchLabels map[]string | Keys with the value each must have.
matchExpressions []LabelSelectorRequirement | Further terms.
= Condition | One aspect of an object's current state.
type string! | Name of the condition.
status string! | True, False or Unknown.
observedGeneration int64 | Generation of the object this was computed from.
lastTransitionTime time! | When the status last changed.
reason string! | CamelCase reason.
message string! | Text for a person.
= ListMeta | Metadata of lists.
resourceVersion string | Version of the collection.
continue string | Token of the next page.
remainingItemCount int64 | Items not in this page.
selfLink string | Legacy; never set.
)";
  static constexpr std::string_view kCore = R"(
@io.k8s.api.core.v1
= ObjectReference atomic | Names another object.
apiVersion string | API version of the object.
kind string | Kind of the object.
namespace string | Namespace of the object.
name string | Name of the object.
uid string | UID of the object.
resourceVersion string | Version that was referred to.
fieldPath string | Part of the object, e.g. spec.containers{name}.
= LocalObjectReference atomic | Names an object in the same namespace.
name string | Name of the object.
= ResourceRequirements | Compute resources.
limits map[]quantity | The most that may be used.
requests map[]quantity | What is reserved.
claims []object | Dynamic resource claims.
= KeySelector atomic | Key of a ConfigMap or Secret.
name string | Name of the object.
key string! | Key within it.
optional bool | Whether it may be absent.
= ObjectFieldSelector atomic | Field of the pod.
apiVersion string | Schema version of fieldPath.
fieldPath string! | Path of the field.
= EnvVarSource | Where the value of a variable comes from.
configMapKeyRef KeySelector | Key of a ConfigMap.
secretKeyRef KeySelector | Key of a Secret.
fieldRef ObjectFieldSelector | Field of the pod.
resourceFieldRef object | Resource of the container.
= EnvVar | Environment variable of a container.
name string! | Name of the variable.
value string | Its value.
valueFrom EnvVarSource | Where its value comes from.
= EnvFromSource | A source of many variables.
prefix string | Put before each key.
configMapRef object | A ConfigMap.
secretRef object | A Secret.
= VolumeMount | Where a volume appears in a container.
name string! | Name of the volume.
mountPath string! | Absolute path in the container.
subPath string | Path within the volume.
subPathExpr string | The same with variables.
readOnly bool | Whether writing is refused.
mountPropagation string | Direction of mounts.
recursiveReadOnly string | Whether mounts below are read-only too.
= ContainerPort | A port the container listens on.
name string | Name of the port.
containerPort int! | Number of the port.
protocol string def="TCP" | TCP, UDP or SCTP.
hostPort int | Port on the host.
hostIP string | Address on the host.
= Probe | A periodic check.
exec object | Runs a command.
httpGet object | Asks over HTTP.
tcpSocket object | Opens a connection.
grpc object | Asks over gRPC.
initialDelaySeconds int | Wait before the first check.
timeoutSeconds int def=1 | Limit of one check.
periodSeconds int def=10 | Time between checks.
successThreshold int def=1 | Successes in a row that count as up.
failureThreshold int def=3 | Failures in a row that count as down.
terminationGracePeriodSeconds int64 | Grace when the probe fails.
= Container | A program of a pod.
name string! | Unique name within the pod.
image string | Image to run.
command []string | Replaces the entry point of the image.
args []string | Arguments.
workingDir string | Working folder.
ports []ContainerPort merge=containerPort keys=containerPort,protocol | Ports it listens on.
envFrom []EnvFromSource | Sources of variables.
env []EnvVar merge=name | Variables.
resources ResourceRequirements def={} | Compute resources.
resizePolicy []object | What happens when resources change.
restartPolicy string | Restart policy of an init container.
volumeMounts []VolumeMount merge=mountPath | Volumes it sees.
volumeDevices []object | Block devices it sees.
livenessProbe Probe | Restarted when this fails.
readinessProbe Probe | Ready while this succeeds.
startupProbe Probe | Started when this succeeds.
lifecycle object | Actions on start and stop.
terminationMessagePath string def="/dev/termination-log" | File with the last words.
terminationMessagePolicy string def="File" | File or FallbackToLogsOnError.
imagePullPolicy string def="IfNotPresent" | Always, Never or IfNotPresent.
securityContext object | Privileges.
stdin bool | Whether stdin is kept open.
stdinOnce bool | Whether stdin closes after the first attach.
tty bool | Whether it gets a terminal.
= KeyToPath | A key and the file it becomes.
key string! | The key.
path string! | Relative path of the file.
mode int | Mode bits of the file.
= ConfigMapVolumeSource | A ConfigMap as files.
name string | Name of the ConfigMap.
items []KeyToPath | Which keys; all when empty.
defaultMode int def=420 | Mode bits of the files.
optional bool | Whether it may be absent.
= SecretVolumeSource | A Secret as files.
secretName string | Name of the Secret.
items []KeyToPath | Which keys; all when empty.
defaultMode int def=420 | Mode bits of the files.
optional bool | Whether it may be absent.
= HostPathVolumeSource | A folder or file of the host.
path string! | Path on the host.
type string def="" | What must be there.
= EmptyDirVolumeSource | A folder that lives as long as the pod.
medium string | Memory, or empty for the default.
sizeLimit quantity | The most it may hold.
= PersistentVolumeClaimVolumeSource | A claimed volume.
claimName string! | Name of the claim.
readOnly bool | Whether writing is refused.
= Volume | A named volume of a pod.
name string! | Name of the volume.
emptyDir EmptyDirVolumeSource | An empty folder.
hostPath HostPathVolumeSource | A folder of the host.
configMap ConfigMapVolumeSource | A ConfigMap.
secret SecretVolumeSource | A Secret.
persistentVolumeClaim PersistentVolumeClaimVolumeSource | A claim.
projected object | Several sources in one folder.
downwardAPI object | Fields of the pod as files.
csi object | A CSI volume.
ephemeral object | A claim made with the pod.
nfs object | An NFS export.
iscsi object | An iSCSI disk.
image object | An image as a volume.
= Toleration | A taint the pod tolerates.
key string | Taint key.
operator string | Exists or Equal.
value string | Taint value.
effect string | NoSchedule, PreferNoSchedule or NoExecute.
tolerationSeconds int64 | How long NoExecute is tolerated.
= PodSpec | What a pod is to run.
volumes []Volume merge=name retain | Volumes of the pod.
initContainers []Container merge=name | Run to the end, in order, before the containers.
containers []Container! merge=name | Programs of the pod.
ephemeralContainers []object merge=name | Debug containers.
restartPolicy string def="Always" | Always, OnFailure or Never.
terminationGracePeriodSeconds int64 def=30 | Time between SIGTERM and SIGKILL.
activeDeadlineSeconds int64 | The longest the pod may run.
dnsPolicy string def="ClusterFirst" | DNS policy.
nodeSelector map[]string atomic | Labels the node must have.
serviceAccountName string | Service account of the pod.
serviceAccount string | Older name of serviceAccountName.
automountServiceAccountToken bool | Whether a token is mounted.
nodeName string | Node the pod runs on.
hostNetwork bool | Uses the host's network.
hostPID bool | Uses the host's process ids.
hostIPC bool | Uses the host's IPC.
hostUsers bool | Uses the host's users.
shareProcessNamespace bool | Containers see one another's processes.
securityContext object def={} | Privileges of the pod.
imagePullSecrets []LocalObjectReference merge=name | Secrets for pulling.
hostname string | Host name.
subdomain string | Subdomain.
setHostnameAsFQDN bool | Uses the full name as host name.
affinity object | Placement rules.
schedulerName string def="default-scheduler" | Scheduler that places the pod.
tolerations []Toleration | Tolerated taints.
hostAliases []object merge=ip | Lines of /etc/hosts.
priorityClassName string | Priority class.
priority int | Priority.
preemptionPolicy string | Whether it may preempt.
dnsConfig object | DNS parameters.
readinessGates []object | Conditions that count for readiness.
runtimeClassName string | Runtime class.
enableServiceLinks bool def=true | Whether services become variables.
overhead map[]quantity | Overhead of the runtime.
topologySpreadConstraints []object | Spreading rules.
os object | Operating system.
schedulingGates []object merge=name | Gates before scheduling.
resourceClaims []object merge=name | Dynamic resource claims.
= PodCondition | One condition of a pod.
type string! | Name of the condition.
status string! | True, False or Unknown.
observedGeneration int64 | Generation this was computed from.
lastProbeTime time | When it was last checked.
lastTransitionTime time | When the status last changed.
reason string | CamelCase reason.
message string | Text for a person.
= ContainerStateWaiting | The container has not started.
reason string | Why it waits.
message string | Text for a person.
= ContainerStateRunning | The container runs.
startedAt time | Since when.
= ContainerStateTerminated | The container ended.
exitCode int! | Exit status.
signal int | Signal that ended it.
reason string | Completed, Error, OOMKilled, ...
message string | Text for a person.
startedAt time | When it started.
finishedAt time | When it ended.
containerID string | Identity of the container.
= ContainerState | Exactly one of its members is set.
waiting ContainerStateWaiting | Waiting.
running ContainerStateRunning | Running.
terminated ContainerStateTerminated | Ended.
= ContainerStatus | Status of one container.
name string! | Name of the container.
state ContainerState | State now.
lastState ContainerState | How the run before ended.
ready bool! | Whether it is ready.
restartCount int! | Restarts so far.
image string! | Image it runs.
imageID string! | Identity of the image.
containerID string | Identity of the container.
started bool | Whether it passed its startup probe.
= PodStatus | What a pod does now.
phase string | Pending, Running, Succeeded, Failed or Unknown.
conditions []PodCondition merge=type | Conditions.
message string | Text for a person.
reason string | CamelCase reason.
nominatedNodeName string | Node the pod may get.
hostIP string | Address of the host.
hostIPs []object | Addresses of the host.
podIP string | Address of the pod.
podIPs []object merge=ip | Addresses of the pod.
startTime time | When the runner took the pod.
initContainerStatuses []ContainerStatus | Status of the init containers.
containerStatuses []ContainerStatus | Status of the containers.
ephemeralContainerStatuses []ContainerStatus | Status of the debug containers.
qosClass string | Guaranteed, Burstable or BestEffort.
observedGeneration int64 | Generation this was computed from.
= Pod root | Programs that run together on one host.
spec PodSpec | What is to run.
status PodStatus | What runs.
= PodTemplateSpec | Pods as a controller makes them.
metadata ObjectMeta | Metadata of the pods.
spec PodSpec | What they run.
= NamespaceSpec | Spec of a namespace.
finalizers []string | Must be empty before the namespace is removed.
= NamespaceCondition | One condition of a namespace.
type string! | Name of the condition.
status string! | True, False or Unknown.
lastTransitionTime time | When the status last changed.
reason string | CamelCase reason.
message string | Text for a person.
= NamespaceStatus | Status of a namespace.
phase string | Active or Terminating.
conditions []NamespaceCondition merge=type | Conditions.
= Namespace root | A scope for names.
spec NamespaceSpec | Behaviour.
status NamespaceStatus | State.
= ConfigMap root | Configuration for pods to read.
immutable bool | Whether data can no longer change.
data map[]string | Text values by key.
binaryData map[]bytes | Base64 values by key.
= Secret root | Data that is not to be shown.
immutable bool | Whether data can no longer change.
data map[]bytes | Base64 values by key.
stringData map[]string | Text values; written into data, never read back.
type string def="Opaque" | What kind of secret it is.
= ServiceAccount root | An identity for programs.
secrets []ObjectReference merge=name | Secrets its pods may use.
imagePullSecrets []LocalObjectReference | Secrets for pulling.
automountServiceAccountToken bool | Whether pods get a token.
= ServicePort | A port of a service.
name string | Name of the port.
protocol string def="TCP" | TCP, UDP or SCTP.
appProtocol string | Application protocol.
port int! | Number of the port.
targetPort intOrString | Port of the pods.
nodePort int | Port on the nodes.
= ServiceSpec | Spec of a service.
ports []ServicePort merge=port keys=port,protocol | Ports.
selector map[]string atomic | Pods that serve.
clusterIP string | Virtual address.
clusterIPs []string | Virtual addresses.
type string def="ClusterIP" | ClusterIP, NodePort, LoadBalancer or ExternalName.
externalIPs []string | Further addresses.
externalName string | DNS name of an ExternalName service.
sessionAffinity string def="None" | ClientIP or None.
loadBalancerIP string | Requested address.
loadBalancerSourceRanges []string | Allowed clients.
loadBalancerClass string | Load balancer class.
externalTrafficPolicy string | Local or Cluster.
internalTrafficPolicy string | Local or Cluster.
ipFamilies []string | IPv4, IPv6.
ipFamilyPolicy string | SingleStack, PreferDualStack or RequireDualStack.
healthCheckNodePort int | Port of the health check.
publishNotReadyAddresses bool | Whether unready pods count.
allocateLoadBalancerNodePorts bool | Whether node ports are allocated.
sessionAffinityConfig object | Session affinity.
trafficDistribution string | Preference among endpoints.
= ServiceStatus | Status of a service.
loadBalancer object | Load balancer.
conditions []Condition merge=type | Conditions.
= Service root | A stable address for pods. Stored only: nothing here routes.
spec ServiceSpec | Behaviour.
status ServiceStatus | State.
= Endpoints root | Addresses behind a service. Stored only.
subsets []object | Addresses and ports.
= EventSource | Who reports.
component string | Component.
host string | Host.
= EventSeries | Repetitions of an event.
count int | How often.
lastObservedTime time | When last.
= Event root | A report of something that happened.
involvedObject ObjectReference! | What it happened to.
reason string | CamelCase reason.
message string | Text for a person.
source EventSource | Who reports.
firstTimestamp time | When first.
lastTimestamp time | When last.
count int | How often.
type string | Normal or Warning.
eventTime time | When, with microseconds.
series EventSeries | Repetitions.
action string | What was done.
related ObjectReference | A second object.
reportingComponent string | Controller that reports.
reportingInstance string | Its instance.
)";
  static constexpr std::string_view kOthers = R"(
@io.k8s.api.batch.v1
= JobSpec | What a job is to run.
parallelism int | Pods that may run at once.
completions int | Pods that must succeed.
activeDeadlineSeconds int64 | The longest the job may run.
podFailurePolicy object | How failures count.
successPolicy object | When the job is done early.
backoffLimit int | Failed pods before the job fails.
backoffLimitPerIndex int | The same for each index.
maxFailedIndexes int | Failed indexes before the job fails.
selector LabelSelector | Pods of the job; set by the server.
manualSelector bool | Whether the selector is the user's.
template PodTemplateSpec! | The pods.
ttlSecondsAfterFinished int | Seconds a finished job is kept.
completionMode string | NonIndexed or Indexed.
suspend bool | Whether the job's pods are stopped.
podReplacementPolicy string | When a pod is replaced.
managedBy string | Controller of the job.
= JobCondition | One condition of a job.
type string! | Complete, Failed or Suspended.
status string! | True, False or Unknown.
lastProbeTime time | When it was last checked.
lastTransitionTime time | When the status last changed.
reason string | CamelCase reason.
message string | Text for a person.
= JobStatus | What a job does now.
conditions []JobCondition merge=type | Conditions.
startTime time | When the controller took the job.
completionTime time | When it was done.
active int | Pods that run.
succeeded int | Pods that succeeded.
failed int | Pods that failed.
ready int | Pods that are ready.
terminating int | Pods that are being stopped.
completedIndexes string | Indexes that succeeded.
failedIndexes string | Indexes that failed.
uncountedTerminatedPods object | Pods not counted yet.
= Job root | Pods that run to the end.
spec JobSpec | What is to run.
status JobStatus | What runs.
@io.k8s.api.coordination.v1
= LeaseSpec | Spec of a lease.
holderIdentity string | Who holds it.
leaseDurationSeconds int | How long it is valid after the last renewal.
acquireTime time | When it was acquired.
renewTime time | When it was last renewed.
leaseTransitions int | How often the holder changed.
strategy string | Strategy of the election.
preferredHolder string | Who should get it.
= Lease root | A lock with an expiry.
spec LeaseSpec | The lease.
@io.k8s.api.apps.v1
= DeploymentSpec | Spec of a deployment.
replicas int def=1 | Wanted pods.
selector LabelSelector! | Its pods.
template PodTemplateSpec! | The pods.
strategy object retain | How pods are replaced.
minReadySeconds int | Ready this long counts as available.
revisionHistoryLimit int def=10 | Old versions to keep.
paused bool | Whether changes wait.
progressDeadlineSeconds int def=600 | The longest without progress.
= DeploymentStatus | Status of a deployment.
observedGeneration int64 | Generation this was computed from.
replicas int | Pods.
updatedReplicas int | Pods of the newest version.
readyReplicas int | Ready pods.
availableReplicas int | Available pods.
unavailableReplicas int | Missing pods.
terminatingReplicas int | Pods that are being stopped.
conditions []object merge=type | Conditions.
collisionCount int | Name collisions.
= Deployment root | Replicated pods. Stored only: no controller runs it here.
spec DeploymentSpec | Behaviour.
status DeploymentStatus | State.
@io.k8s.apiextensions-apiserver.pkg.apis.apiextensions.v1
= CustomResourceDefinitionNames | Names of a custom resource.
plural string! | Name in URLs.
singular string | Name for one.
shortNames []string | Short names.
kind string! | Kind.
listKind string | Kind of lists.
categories []string | Groups such as all.
= CustomResourceColumnDefinition | A column of kubectl get.
name string! | Heading.
type string! | integer, number, string, boolean or date.
format string | Format of the type.
description string | What it shows.
priority int | Above 0: wide output only.
jsonPath string! | Path of the value.
= CustomResourceDefinitionVersion | A version of a custom resource.
name string! | Name, such as v1.
served bool! | Whether it can be used.
storage bool! | Whether objects are stored in it.
deprecated bool | Whether it is deprecated.
deprecationWarning string | The warning its users get.
schema object | openAPIV3Schema.
subresources object | status and scale.
additionalPrinterColumns []CustomResourceColumnDefinition | Columns of kubectl get.
selectableFields []object | Fields for field selectors.
= CustomResourceDefinitionSpec | What a custom resource is.
group string! | API group.
names CustomResourceDefinitionNames! | Names.
scope string! | Namespaced or Cluster.
versions []CustomResourceDefinitionVersion! | Versions.
conversion object | How versions are converted.
preserveUnknownFields bool | Legacy; must be false.
= CustomResourceDefinitionCondition | One condition of a definition.
type string! | Name of the condition.
status string! | True, False or Unknown.
lastTransitionTime time | When the status last changed.
reason string | CamelCase reason.
message string | Text for a person.
observedGeneration int64 | Generation this was computed from.
= CustomResourceDefinitionStatus | State of a definition.
conditions []CustomResourceDefinitionCondition keys=type | Conditions.
acceptedNames CustomResourceDefinitionNames | Names in use.
storedVersions []string | Versions objects were stored in.
observedGeneration int64 | Generation this was computed from.
= CustomResourceDefinition root | A resource that users add to the API.
spec CustomResourceDefinitionSpec! | What it is.
status CustomResourceDefinitionStatus | State.
@io.k8s.api.authentication.v1
= UserInfo | Who somebody is.
username string | Name.
uid string | Identity over time.
groups []string | Groups.
extra object | More.
= TokenReviewSpec | A token to check.
token string | The token.
audiences []string | For whom it must be valid.
= TokenReviewStatus | What the token says.
authenticated bool | Whether it is valid.
user UserInfo | Whose it is.
audiences []string | For whom it is valid.
error string | Why it could not be checked.
= TokenReview root | Checks a token.
spec TokenReviewSpec! | The token.
status TokenReviewStatus | The answer.
= TokenRequestSpec | A wanted token.
audiences []string | For whom.
expirationSeconds int64 | How long.
boundObjectRef object | Object it ends with.
= TokenRequestStatus | The token.
token string! | The token.
expirationTimestamp time! | When it ends.
= TokenRequest root | Asks for a token of a service account.
spec TokenRequestSpec! | What is wanted.
status TokenRequestStatus | The answer.
= SelfSubjectReviewStatus | Who you are.
userInfo UserInfo | You.
= SelfSubjectReview root | Asks who you are.
status SelfSubjectReviewStatus | The answer.
@io.k8s.api.authorization.v1
= SubjectAccessReviewStatus | The answer.
allowed bool! | Whether it is allowed.
denied bool | Whether it is refused for good.
reason string | Why.
evaluationError string | What went wrong.
= SelfSubjectAccessReviewSpec | What you want to do.
resourceAttributes object | On a resource.
nonResourceAttributes object | On a path.
= SelfSubjectAccessReview root | Asks whether you may do something.
spec SelfSubjectAccessReviewSpec! | What.
status SubjectAccessReviewStatus | The answer.
= SubjectAccessReviewSpec | What somebody wants to do.
resourceAttributes object | On a resource.
nonResourceAttributes object | On a path.
user string | Who.
groups []string | Groups.
extra object | More.
uid string | Identity over time.
= SubjectAccessReview root | Asks whether somebody may do something.
spec SubjectAccessReviewSpec! | What.
status SubjectAccessReviewStatus | The answer.
)";
  static const std::string all = std::string(kMeta) + std::string(kCore) + std::string(kOthers);
  return all;
}

}  // namespace tango::standalone
