"""One host over SSH, as OpenSSH is configured to reach it. Only this package knows Fabric and Paramiko."""
