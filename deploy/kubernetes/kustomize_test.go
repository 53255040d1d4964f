package kubernetes_test

import (
	"bytes"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
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

// The example, as it would be applied: everything is in one namespace, the image
// has a registry, and the Deployment names the configuration by its content.
func TestExample(t *testing.T) {
	t.Parallel()
	var o objects
	o.addRendered(t, kustomize(t, "example"))
	for kind, object := range o.all() {
		if namespace := object.GetNamespace(); kind != "Namespace" && namespace != o.Namespace.Name {
			t.Errorf("%s is in the namespace %q, not in %q", kind, namespace, o.Namespace.Name)
		}
	}
	if got := o.ConfigMap.Data["config.yaml"]; got != string(mustRead(t, "base/config.yaml")) {
		t.Errorf("the ConfigMap holds another configuration:\n%s", got)
	}
	pod := o.Deployment.Spec.Template.Spec
	if got := pod.Volumes[0].ConfigMap.Name; got != o.ConfigMap.Name || got == "omps-consumer" {
		t.Errorf("the Deployment mounts the ConfigMap %s, which is %s", got, o.ConfigMap.Name)
	}
	if got := pod.Containers[0].Image; got != "registry.example.com/tools/omps-consumer:v1.0.0" {
		t.Errorf("the image is %s", got)
	}
	if o.Deployment.Spec.Replicas != nil {
		t.Errorf("%d replicas, which is the ScaledObject's to say", *o.Deployment.Spec.Replicas)
	}
}

// Users and groups are left to OpenShift, and nothing else of what keeps the
// container in its bounds.
func TestOpenShift(t *testing.T) {
	t.Parallel()
	var plain, o objects
	plain.addRendered(t, kustomize(t, "."))
	o.addRendered(t, kustomize(t, "testdata/openshift"))
	dns := &o.NetworkPolicy.Spec.Egress[0]
	if got := dns.To[0].NamespaceSelector.MatchLabels["kubernetes.io/metadata.name"]; got != "openshift-dns" || dns.Ports[0].Port.IntVal != 5353 {
		t.Errorf("%+v", dns)
	}
	*dns = plain.NetworkPolicy.Spec.Egress[0]
	security := plain.Deployment.Spec.Template.Spec.SecurityContext
	security.RunAsUser, security.RunAsGroup, security.FSGroup = nil, nil, nil
	if diff := cmp.Diff(plain, o); diff != "" {
		t.Errorf("(-plain +openshift):\n%s", diff)
	}
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
