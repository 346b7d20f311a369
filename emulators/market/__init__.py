"""The market behind the Meta and HubSpot doubles: audiences, deals, and what is hidden."""
