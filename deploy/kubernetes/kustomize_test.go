package kubernetes_test

import (
	"bytes"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/yaml"
)

// Every file is listed in the kustomization of its folder, and what is listed is
// there.
func TestKustomizations(t *testing.T) {
	t.Parallel()
	found := make(map[string]bool)
	for _, name := range files(t) {
		found[name] = true
	}
	listed := make(map[string]bool)
	for name := range found {
		if filepath.Base(name) != "kustomization.yaml" {
			continue
		}
		var k kustomization
		if err := yaml.UnmarshalStrict(mustRead(t, name), &k); err != nil {
			t.Errorf("%s: %v", name, err)
		}
		component := strings.HasPrefix(name, "components")
		if component && (k.APIVersion != "kustomize.config.k8s.io/v1alpha1" || k.Kind != "Component") ||
			!component && (k.APIVersion != "kustomize.config.k8s.io/v1beta1" || k.Kind != "Kustomization") {
			t.Errorf("%s is a %s %s", name, k.APIVersion, k.Kind)
		}
		list := slices.Concat(k.Resources, k.Components)
		for _, g := range k.ConfigMapGenerator {
			list = append(list, g.Files...)
		}
		for _, item := range list {
			path := filepath.Join(filepath.Dir(name), item)
			switch {
			case found[filepath.Join(path, "kustomization.yaml")]:
			case found[path]:
				listed[path] = true
			default:
				t.Errorf("%s lists %s, which is not there", name, item)
			}
		}
	}
	for name := range found {
		if filepath.Base(name) != "kustomization.yaml" && !listed[name] {
			t.Errorf("%s is in no kustomization", name)
		}
	}
}

// The example, as it would be applied.
func TestExample(t *testing.T) {
	t.Parallel()
	o := rendered(t, "example")
	checkApplied(t, o, &o.Consumer)
	if o.Consumer.Deployment.Spec.Replicas != nil {
		t.Errorf("%d replicas, which is the ScaledObject's to say", *o.Consumer.Deployment.Spec.Replicas)
	}
	if o.Bridge.Deployment.Name != "" {
		t.Error("a bridge, which nobody asked for and which has no Secret")
	}
}

// The example's line for a bridge adds one, and changes nothing of the rest.
func TestExampleWithBridge(t *testing.T) {
	t.Parallel()
	plain, o := rendered(t, "example"), rendered(t, exampleWith(t, "../bridge"))
	checkApplied(t, o, &o.Bridge)
	if got := o.Bridge.Deployment.Spec.Replicas; got == nil || *got != 2 {
		t.Errorf("%v replicas", got)
	}
	o.Bridge = plain.Bridge
	if diff := cmp.Diff(plain, o); diff != "" {
		t.Errorf("(-without +with a bridge):\n%s", diff)
	}
}

// checkApplied wants everything in one namespace, an image that has a registry,
// and a Deployment that names the configuration by its content.
func checkApplied(t *testing.T, o *objects, w *workload) {
	t.Helper()
	for _, some := range []map[string]metav1.Object{o.around(), w.all()} {
		for kind, object := range some {
			if namespace := object.GetNamespace(); kind != "Namespace" && namespace != o.Namespace.Name {
				t.Errorf("%s is in the namespace %q, not in %q", kind, namespace, o.Namespace.Name)
			}
		}
	}
	if got := w.ConfigMap.Data["config.yaml"]; got != string(mustRead(t, w.Folder+"/config.yaml")) {
		t.Errorf("the ConfigMap holds another configuration:\n%s", got)
	}
	pod := w.Deployment.Spec.Template.Spec
	if got := pod.Volumes[0].ConfigMap.Name; got != w.ConfigMap.Name || got == w.Name {
		t.Errorf("the Deployment mounts the ConfigMap %s, which is %s", got, w.ConfigMap.Name)
	}
	if got := pod.Containers[0].Image; got != "registry.example.com/tools/omps-consumer:v1.0.0" {
		t.Errorf("the image is %s", got)
	}
}

// Users and groups are left to OpenShift, and nothing else of what keeps the
// containers in their bounds.
func TestOpenShift(t *testing.T) {
	t.Parallel()
	plain, o := rendered(t, exampleWith(t, "../bridge")), rendered(t, exampleWith(t, "../bridge", "../components/openshift"))
	for i, w := range o.workloads() {
		before := plain.workloads()[i]
		dns := &w.NetworkPolicy.Spec.Egress[0]
		if got := dns.To[0].NamespaceSelector.MatchLabels["kubernetes.io/metadata.name"]; got != "openshift-dns" || dns.Ports[0].Port.IntVal != 5353 {
			t.Errorf("%s: %+v", w.Name, dns)
		}
		*dns = before.NetworkPolicy.Spec.Egress[0]
		security := before.Deployment.Spec.Template.Spec.SecurityContext
		security.RunAsUser, security.RunAsGroup, security.FSGroup = nil, nil, nil
	}
	if diff := cmp.Diff(plain, o); diff != "" {
		t.Errorf("(-plain +openshift):\n%s", diff)
	}
}

// exampleWith is a copy of the example in which these lines, which are comments
// there, are none.
func exampleWith(t *testing.T, lines ...string) (folder string) {
	t.Helper()
	root := t.TempDir()
	if err := os.CopyFS(root, os.DirFS(".")); err != nil {
		t.Fatal(err)
	}
	folder = filepath.Join(root, "example")
	name := filepath.Join(folder, "kustomization.yaml")
	text := string(mustRead(t, name))
	for _, line := range lines {
		before := text
		if text = strings.Replace(text, "  # - "+line, "  - "+line, 1); text == before {
			t.Fatalf("the example has no comment for %s", line)
		}
	}
	if err := os.WriteFile(name, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return folder
}

// kustomize renders a folder.
func kustomize(t *testing.T, folder string) []byte {
	t.Helper()
	if _, err := exec.LookPath("kubectl"); err != nil {
		t.Skip("kubectl is not installed")
	}
	var errs bytes.Buffer
	cmd := exec.CommandContext(t.Context(), "kubectl", "kustomize", folder)
	cmd.Stderr = &errs
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("kubectl kustomize %s: %v: %s", folder, err, &errs)
	}
	return out
}
