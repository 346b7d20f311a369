"""GeminiVideo: video ads made, published and paid for by evidence."""
