; Brushcast for Windows: a script for Inno Setup 6.3 or newer.
;
;   iscc packaging\windows\brushcast.iss        -> packaging\windows\Output\BrushcastSetup.exe
;
; Everything is for the current user, without administrator rights: a person's OBS, camera and models are theirs. It puts
; the program into {localappdata}\Programs\Brushcast, looks for a 64-bit Python from 3.11 on (registry, then `py`), runs
; `python -m installer setup` in a window that shows its progress, and offers to register the script with OBS.
; It has never been compiled or run yet: tests/test_packaging.py reads its sections and checks that every file it names exists.

#define AppName "Brushcast"
#define Root "..\.."
; The same as plugin\brushcast\__init__.py says; a test holds them against each other.
#define AppVersion "0.1.0"

[Setup]
AppId={{5B0E6B6C-6C0A-4B52-9B0B-1C8F0B6D2E57}
AppName={#AppName}
AppVersion={#AppVersion}
AppPublisher=the Brushcast authors
DefaultDirName={localappdata}\Programs\Brushcast
DisableProgramGroupPage=yes
PrivilegesRequired=lowest
ArchitecturesAllowed=x64compatible
ArchitecturesInstallIn64BitMode=x64compatible
MinVersion=10.0.17763
LicenseFile={#Root}\LICENSE
OutputBaseFilename=BrushcastSetup
SetupLogging=yes
WizardStyle=modern
Compression=lzma2
SolidCompression=yes
; What is running would be replaced under its feet.
CloseApplications=yes

[Languages]
Name: "en"; MessagesFile: "compiler:Default.isl"
Name: "de"; MessagesFile: "compiler:Languages\German.isl"

[CustomMessages]
en.NoPython=Brushcast needs 64-bit Python 3.11 or newer, and none was found.%n%nInstall Python 3.12 from python.org ("Install for me only" is enough), then run this set-up again. Open python.org now?
de.NoPython=Brushcast braucht Python 3.11 oder neuer (64 Bit); gefunden wurde keines.%n%nBitte Python 3.12 von python.org installieren ("nur für mich" genügt) und diese Installation noch einmal starten. python.org jetzt öffnen?
en.SettingUp=Setting up Brushcast: fetching packages and PyTorch (a window shows the progress)
de.SettingUp=Brushcast wird eingerichtet: Pakete und PyTorch werden geholt (ein Fenster zeigt den Fortschritt)
en.RegisterObs=Put the script into OBS now (OBS must be closed; it asks first)
de.RegisterObs=Das Skript jetzt in OBS eintragen (OBS muss geschlossen sein; es fragt vorher)
en.MenuEntry=An entry in the Start menu
de.MenuEntry=Ein Eintrag im Startmenü
en.AtLogin=Start Brushcast at log-in
de.AtLogin=Brushcast beim Anmelden starten
en.SetupFailed=The set-up did not finish. What it said is in .venv-setup.log in Brushcast's folder; running this set-up again goes on from there.
de.SetupFailed=Die Einrichtung ist nicht fertig geworden. Was sie gesagt hat, steht in .venv-setup.log in Brushcasts Ordner; ein neuer Start dieser Installation macht dort weiter.
en.NotRemoved=Brushcast's environment, settings and OBS entry could not be taken away (is OBS or Brushcast running?). Remove the program all the same?
de.NotRemoved=Brushcasts Umgebung, Einstellungen und OBS-Eintrag ließen sich nicht entfernen (läuft OBS oder Brushcast?). Das Programm trotzdem entfernen?

[Tasks]
Name: "menu"; Description: "{cm:MenuEntry}"
Name: "autostart"; Description: "{cm:AtLogin}"; Flags: unchecked

[Files]
Source: "{#Root}\pyproject.toml"; DestDir: "{app}"; Flags: ignoreversion
Source: "{#Root}\README.md"; DestDir: "{app}"; Flags: ignoreversion
Source: "{#Root}\CHANGELOG.md"; DestDir: "{app}"; Flags: ignoreversion
Source: "{#Root}\LICENSE"; DestDir: "{app}"; Flags: ignoreversion
Source: "{#Root}\installer\*"; DestDir: "{app}\installer"; Excludes: "__pycache__"; Flags: ignoreversion recursesubdirs
Source: "{#Root}\obs_scripts\*"; DestDir: "{app}\obs_scripts"; Excludes: "__pycache__"; Flags: ignoreversion recursesubdirs
Source: "{#Root}\plugin\*"; DestDir: "{app}\plugin"; Excludes: "__pycache__"; Flags: ignoreversion recursesubdirs
Source: "{#Root}\worker\brushcast_worker\*"; DestDir: "{app}\worker\brushcast_worker"; Excludes: "__pycache__"; Flags: ignoreversion recursesubdirs
Source: "{#Root}\requirements\*"; DestDir: "{app}\requirements"; Flags: ignoreversion recursesubdirs

[Run]
Filename: "{code:PythonPath}"; Parameters: "-m installer desktop"; WorkingDir: "{app}"; Flags: runhidden; Tasks: menu and not autostart; Check: IsSetUp
Filename: "{code:PythonPath}"; Parameters: "-m installer desktop --autostart"; WorkingDir: "{app}"; Flags: runhidden; Tasks: autostart; Check: IsSetUp
; In a window of its own that stays open: it shows what it will change and asks.
Filename: "{cmd}"; Parameters: "/k """"{code:PythonPath}"" -m installer obs"""; WorkingDir: "{app}"; Description: "{cm:RegisterObs}"; Flags: postinstall nowait skipifsilent unchecked; Check: IsSetUp

[UninstallDelete]
; What Python leaves beside the files above; the environment is taken away by `uninstall` (see below).
Type: filesandordirs; Name: "{app}\installer\__pycache__"
Type: filesandordirs; Name: "{app}\obs_scripts\__pycache__"
Type: filesandordirs; Name: "{app}\plugin"
Type: filesandordirs; Name: "{app}\worker"
Type: files; Name: "{app}\python-path.txt"
Type: dirifempty; Name: "{app}"

[Code]
var
  FoundPython: String;
  SetUpWorked: Boolean;

function PythonPath(Param: String): String;
begin
  Result := FoundPython;
end;

function IsSetUp: Boolean;
begin
  Result := SetUpWorked;
end;

function RegisteredPython(RootKey: Integer; Minor: Integer): String;
var
  Folder: String;
begin
  Result := '';
  if RegQueryStringValue(RootKey, 'Software\Python\PythonCore\3.' + IntToStr(Minor) + '\InstallPath', '', Folder) then
    if FileExists(AddBackslash(Folder) + 'python.exe') then
      Result := AddBackslash(Folder) + 'python.exe';
end;

{ The registry (PEP 514) knows python.org's, 64-bit ones under "3.12", 32-bit ones under "3.12-32". 3.12 first: every OBS from 30.1 loads it too. }
function FindPython: String;
var
  Order: array of Integer;
  I: Integer;
begin
  SetArrayLength(Order, 4);
  Order[0] := 12; Order[1] := 13; Order[2] := 11; Order[3] := 14;
  Result := '';
  for I := 0 to GetArrayLength(Order) - 1 do
  begin
    if Result = '' then Result := RegisteredPython(HKCU, Order[I]);
    if Result = '' then Result := RegisteredPython(HKLM64, Order[I]);
  end;
end;

function InitializeSetup: Boolean;
var
  Code: Integer;
begin
  FoundPython := FindPython;
  Result := FoundPython <> '';
  if not Result then
    if SuppressibleMsgBox(CustomMessage('NoPython'), mbError, MB_YESNO, IDNO) = IDYES then
      ShellExec('open', 'https://www.python.org/downloads/windows/', '', '', SW_SHOWNORMAL, ewNoWait, Code);
end;

procedure CurStepChanged(CurStep: TSetupStep);
var
  Code: Integer;
begin
  if CurStep <> ssPostInstall then Exit;
  WizardForm.StatusLabel.Caption := CustomMessage('SettingUp');
  SetUpWorked := Exec(FoundPython, '-m installer setup', ExpandConstant('{app}'), SW_SHOWNORMAL, ewWaitUntilTerminated, Code) and (Code = 0);
  { The uninstaller is another program: it reads here which Python made the environment. }
  SaveStringToFile(ExpandConstant('{app}\python-path.txt'), FoundPython, False);
  if not SetUpWorked then
    SuppressibleMsgBox(CustomMessage('SetupFailed'), mbError, MB_OK, IDOK);
end;

function InitializeUninstall: Boolean;
var
  Python: AnsiString;
  Code: Integer;
begin
  Result := True;
  if LoadStringFromFile(ExpandConstant('{app}\python-path.txt'), Python) and FileExists(String(Python)) then
    { --yes: Windows has asked already. OBS's entry, settings, models, caches and .venv go here. }
    if not (Exec(String(Python), '-m installer uninstall --yes', ExpandConstant('{app}'), SW_HIDE, ewWaitUntilTerminated, Code) and (Code = 0)) then
      Result := SuppressibleMsgBox(CustomMessage('NotRemoved'), mbConfirmation, MB_YESNO, IDNO) = IDYES;
end;
