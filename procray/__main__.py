"""`python -m procray`: the command, where its script is not on the path."""

from procray.children import leave_the_users_folder

leave_the_users_folder()  # `-m` puts it in front of everything else

from procray.cli import main  # noqa: E402

main()
