// SPDX-License-Identifier: AGPL-3.0-or-later

package stacks

// refusedAtTop are the keys beside services and volumes that people write, and
// the problem that says what to write instead.
func refusedAtTop() map[string]string {
	return map[string]string{
		"name": "stack-name", "version": "stack-name",
		"networks": "networks",
		"secrets":  "secrets", "configs": "secrets",
		"include": "other-files",
	}
}

// refusedInService are the same for the keys of a service.
func refusedInService() map[string]string {
	groups := map[string][]string{
		"privileged":     {"privileged"},
		"host-namespace": {"network_mode", "pid", "ipc", "userns_mode", "uts", "cgroup"},
		"devices":        {"devices", "device_cgroup_rules", "gpus", "blkio_config"},
		"capabilities":   {"cap_add", "cap_drop"},
		"security":       {"security_opt", "runtime", "isolation", "credential_spec", "cgroup_parent", "use_api_socket", "storage_opt"},
		"kernel":         {"sysctls", "ulimits", "oom_score_adj", "oom_kill_disable", "shm_size", "mem_swappiness"},
		"other-volumes":  {"volumes_from"},
		"ports":          {"ports", "expose"},
		"secrets":        {"secrets", "configs"},
		"build":          {"build", "pull_policy", "platform", "develop"},
		"networks":       {"networks", "links", "external_links", "dns", "dns_opt", "dns_search", "extra_hosts", "mac_address", "domainname"},
		"names":          {"container_name", "hostname", "labels", "label_file", "annotations"},
		"supervision":    {"restart", "logging", "init", "attach", "profiles", "tty", "stdin_open", "post_start", "pre_stop"},
		"deploy":         {"deploy", "scale", "mem_reservation", "memswap_limit", "cpu_count", "cpu_percent", "cpu_period", "cpu_quota", "cpu_rt_period", "cpu_rt_runtime", "cpu_shares", "cpuset"},
		"user":           {"user", "group_add"},
		"env-file":       {"env_file"},
		"other-files":    {"extends", "provider", "models"},
	}
	refused := map[string]string{}
	for id, keys := range groups {
		for _, key := range keys {
			refused[key] = id
		}
	}
	return refused
}
