package kubernetes_test

import (
	"fmt"
	"maps"
	"net/url"
	"path"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	metavalidation "k8s.io/apimachinery/pkg/apis/meta/v1/validation"
	"k8s.io/apimachinery/pkg/util/validation"
	"k8s.io/apimachinery/pkg/util/validation/field"
	"sigs.k8s.io/yaml"
)

// Everything has one name and one label, legal ones, and finds the pods by it.
func TestNamesAndSelectors(t *testing.T) {
	t.Parallel()
	o := read(t)
	own := map[string]string{"app.kubernetes.io/name": "omps-consumer"}
	for kind, object := range o.all() {
		if object.GetName() != "omps-consumer" || len(validation.IsDNS1123Label(object.GetName())) > 0 {
			t.Errorf("%s has the name %q", kind, object.GetName())
		}
		if kind != "Namespace" && !maps.Equal(object.GetLabels(), own) {
			t.Errorf("%s has the labels %v", kind, object.GetLabels())
		}
		if faults := metavalidation.ValidateLabels(object.GetLabels(), field.NewPath("labels")); len(faults) > 0 {
			t.Errorf("%s: %v", kind, faults)
		}
	}
	pods := o.Deployment.Spec.Template
	if !maps.Equal(pods.Labels, own) {
		t.Errorf("pods have the labels %v", pods.Labels)
	}
	for what, selector := range map[string]*metav1.LabelSelector{
		"Deployment": o.Deployment.Spec.Selector, "PodDisruptionBudget": o.Budget.Spec.Selector, "NetworkPolicy": &o.NetworkPolicy.Spec.PodSelector,
		"spread": pods.Spec.TopologySpreadConstraints[0].LabelSelector, "ServiceMonitor": &o.Monitor.Spec.Selector,
		"Service": {MatchLabels: o.Service.Spec.Selector},
	} {
		if selector == nil || !maps.Equal(selector.MatchLabels, own) || len(selector.MatchExpressions) > 0 {
			t.Errorf("%s selects %v", what, selector)
		}
	}
	if pods.Spec.ServiceAccountName != o.Account.Name || o.Scaled.Spec.ScaleTargetRef.Name != o.Deployment.Name {
		t.Errorf("account %s, scaled %s", pods.Spec.ServiceAccountName, o.Scaled.Spec.ScaleTargetRef.Name)
	}
	if job := `{job="` + o.Service.Name + `"}`; !strings.Contains(o.Scaled.Spec.Triggers[0].Metadata.Query, job) {
		t.Errorf("the ScaledObject asks for %s, and the Service's metrics have %s", o.Scaled.Spec.Triggers[0].Metadata.Query, job)
	}
}

// The one port has one name, by which probes, Service, metrics and network policy
// call it.
func TestPorts(t *testing.T) {
	t.Parallel()
	o := read(t)
	c := container(t, o)
	if len(c.Ports) != 1 || len(validation.IsValidPortName(c.Ports[0].Name)) > 0 || c.Ports[0].ContainerPort != 8080 {
		t.Fatalf("ports %v", c.Ports)
	}
	name := c.Ports[0].Name
	used := map[string]string{
		"ServiceMonitor": o.Monitor.Spec.Endpoints[0].Port, "Service": o.Service.Spec.Ports[0].Name,
		"Service's target": o.Service.Spec.Ports[0].TargetPort.StrVal, "NetworkPolicy": o.NetworkPolicy.Spec.Ingress[0].Ports[0].Port.StrVal,
	}
	for what, probe := range map[string]*corev1.Probe{"startup": c.StartupProbe, "liveness": c.LivenessProbe, "readiness": c.ReadinessProbe} {
		if probe == nil || probe.HTTPGet == nil {
			t.Errorf("no probe of %s over http", what)
			continue
		}
		used[what] = probe.HTTPGet.Port.StrVal
	}
	for what, got := range used {
		if got != name {
			t.Errorf("%s uses the port %q, which is %q", what, got, name)
		}
	}
}

// The Pod Security Standard "restricted", which the example's namespace enforces,
// and what goes beyond it.
func TestPodIsRestricted(t *testing.T) {
	t.Parallel()
	o := read(t)
	pod, c := o.Deployment.Spec.Template.Spec, container(t, o)
	yes, no := true, false
	user, mode := int64(65532), int32(0o440)
	want := corev1.PodSecurityContext{
		RunAsNonRoot: &yes, RunAsUser: &user, RunAsGroup: &user, FSGroup: &user,
		SeccompProfile: &corev1.SeccompProfile{Type: corev1.SeccompProfileTypeRuntimeDefault},
	}
	if diff := cmp.Diff(&want, pod.SecurityContext); diff != "" {
		t.Errorf("pod (-want +got):\n%s", diff)
	}
	bounds := corev1.SecurityContext{
		AllowPrivilegeEscalation: &no, ReadOnlyRootFilesystem: &yes, Capabilities: &corev1.Capabilities{Drop: []corev1.Capability{"ALL"}},
	}
	if diff := cmp.Diff(&bounds, c.SecurityContext); diff != "" {
		t.Errorf("container (-want +got):\n%s", diff)
	}
	if diff := cmp.Diff([]*bool{&no, &no, &no}, []*bool{pod.AutomountServiceAccountToken, o.Account.AutomountServiceAccountToken, pod.EnableServiceLinks}); diff != "" {
		t.Errorf("tokens and variables that nobody needs (-want +got):\n%s", diff)
	}
	if pod.HostNetwork || pod.HostPID || pod.HostIPC || len(pod.InitContainers) > 0 {
		t.Errorf("%+v", pod)
	}
	if got := o.Namespace.Labels["pod-security.kubernetes.io/enforce"]; got != "restricted" {
		t.Errorf("the namespace enforces %q", got)
	}
	if got := *volume(t, pod, "secrets").Secret.DefaultMode; got != mode {
		t.Errorf("secrets have mode %o, want %o", got, mode)
	}
	for _, m := range c.VolumeMounts {
		if !m.ReadOnly {
			t.Errorf("%s can be written", m.MountPath)
		}
	}
}

// The Secret that the README makes has the files that the configuration names,
// and the ConfigMap's file is where the program looks.
func TestMountedFiles(t *testing.T) {
	t.Parallel()
	o := read(t)
	pod, c := o.Deployment.Spec.Template.Spec, container(t, o)
	mounts := make(map[string]string) // path by volume
	for _, m := range c.VolumeMounts {
		mounts[m.Name] = m.MountPath
	}
	secret := volume(t, pod, "secrets").Secret.SecretName
	var named []string
	for _, file := range namedFiles(t) {
		if path.Dir(file) != mounts["secrets"] {
			t.Errorf("%s is not a file of the Secret, which is mounted at %s", file, mounts["secrets"])
		}
		named = append(named, path.Base(file))
	}
	var made []string
	for _, word := range strings.Fields(string(mustRead(t, "../../README.md"))) {
		if key, isKey := strings.CutPrefix(word, "--from-file="); isKey {
			key, _, _ = strings.Cut(key, "=")
			made = append(made, path.Base(key))
		}
	}
	slices.Sort(made)
	slices.Sort(named)
	if len(named) == 0 || !slices.Equal(made, named) {
		t.Errorf("the README makes a Secret of %v, and the configuration names %v", made, named)
	}
	if command := "kubectl create secret generic " + secret + " "; !strings.Contains(string(mustRead(t, "../../README.md")), command) {
		t.Errorf("the README does not say %s", command)
	}
	if name := volume(t, pod, "config").ConfigMap.Name; name != "omps-consumer" {
		t.Errorf("the configuration comes from the ConfigMap %s", name)
	}
	if want := []string{"run", "-c", mounts["config"] + "/config.yaml"}; !slices.Equal(c.Args, want) || len(c.Command) > 0 {
		t.Errorf("%v %v, want the image's own entry point with %v", c.Command, c.Args, want)
	}
}

// Out go names, NATS where the configuration has it, and HTTPS, for which the
// addresses of a cloud's own service are left out.
func TestEgress(t *testing.T) {
	t.Parallel()
	o := read(t)
	nats, _ := configuration(t)["nats"].(map[string]any)
	server, err := url.Parse(fmt.Sprint(nats["url"]))
	if err != nil {
		t.Fatal(err)
	}
	host := strings.Split(server.Hostname(), ".") // SERVICE.NAMESPACE.svc
	var got []string
	for _, rule := range o.NetworkPolicy.Spec.Egress {
		for _, peer := range rule.To {
			to := ""
			if peer.NamespaceSelector != nil {
				to = peer.NamespaceSelector.MatchLabels["kubernetes.io/metadata.name"]
			}
			if peer.IPBlock != nil {
				to = fmt.Sprint(peer.IPBlock.CIDR, peer.IPBlock.Except)
			}
			for _, p := range rule.Ports {
				got = append(got, fmt.Sprintf("%s %s/%d", to, *p.Protocol, p.Port.IntVal))
			}
		}
	}
	want := []string{
		"kube-system UDP/53", "kube-system TCP/53", "169.254.20.10/32[] UDP/53", "169.254.20.10/32[] TCP/53",
		host[1] + " TCP/" + server.Port(),
		"0.0.0.0/0[169.254.0.0/16] TCP/443", "::/0[fd00:ec2::254/128] TCP/443",
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	if types := o.NetworkPolicy.Spec.PolicyTypes; len(types) != 2 || len(o.NetworkPolicy.Spec.Ingress) != 1 || len(o.NetworkPolicy.Spec.Ingress[0].From) != 1 {
		t.Errorf("%v, in: %+v", types, o.NetworkPolicy.Spec.Ingress)
	}
}

// namedFiles are the values of all keys of the configuration that name a file.
func namedFiles(t *testing.T) []string {
	t.Helper()
	var names []string
	var walk func(v any)
	walk = func(v any) {
		m, _ := v.(map[string]any)
		for key, value := range m {
			if name, isText := value.(string); isText && strings.HasSuffix(key, "_file") {
				names = append(names, name)
			}
			walk(value)
		}
	}
	walk(configuration(t))
	return names
}

func configuration(t *testing.T) map[string]any {
	t.Helper()
	var config map[string]any
	if err := yaml.UnmarshalStrict(mustRead(t, "base/config.yaml"), &config); err != nil {
		t.Fatal(err)
	}
	return config
}

// One voluntary disruption at a time, and the scaling never goes below what
// survives it.
func TestReplicas(t *testing.T) {
	t.Parallel()
	o := read(t)
	replicas := *o.Deployment.Spec.Replicas
	if replicas < 2 || o.Budget.Spec.MaxUnavailable.IntVal != 1 || o.Budget.Spec.MinAvailable != nil {
		t.Errorf("%d replicas, %+v", replicas, o.Budget.Spec)
	}
	if s := o.Scaled.Spec; s.MinReplicaCount != replicas || s.Fallback.Replicas != replicas || s.MaxReplicaCount <= replicas {
		t.Errorf("%+v, and the Deployment has %d", s, replicas)
	}
	if u := o.Deployment.Spec.Strategy.RollingUpdate; u.MaxUnavailable.IntVal != 0 || u.MaxSurge.IntVal != 1 {
		t.Errorf("%+v", u)
	}
}

func container(t *testing.T, o *objects) corev1.Container {
	t.Helper()
	if n := len(o.Deployment.Spec.Template.Spec.Containers); n != 1 {
		t.Fatalf("%d containers", n)
	}
	return o.Deployment.Spec.Template.Spec.Containers[0]
}

func volume(t *testing.T, pod corev1.PodSpec, name string) corev1.Volume {
	t.Helper()
	for _, v := range pod.Volumes {
		if v.Name == name {
			return v
		}
	}
	t.Fatalf("no volume %s", name)
	return corev1.Volume{}
}
