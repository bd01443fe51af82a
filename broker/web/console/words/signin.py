"""Strings: signin."""


class SignIn:
    """Of the page `signin`."""

    sign_in = "Sign in"
    from_elsewhere = "A page of another site led you here, so nothing has begun: sign in if it was you who wanted to."
    signed_out = "Signed out"
    signed_out_text = "You are signed out of this console."
    provider_text = "Your identity provider may still know you."
    provider_link = "Sign out there, too"
    leaving = "Going to your identity provider …"
    in_again = "Sign in again"
