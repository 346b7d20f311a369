"""The HTTPS faces: each joins the domain to the runtime's router, as the doors do for steps."""
