"""What the CRM tells: HubSpot's webhooks, verified and read; deals and their history as values."""
