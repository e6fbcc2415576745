INSERT INTO users (id, name, email, member_since, rating) VALUES
    ('anneke', 'Anneke Brandt', 'anneke@example.org', 2017, 4.9),
    ('birol', 'Birol Kaya', 'birol@example.org', 2019, 4.6),
    ('clara', 'Clara Nowak', 'clara@example.org', 2021, 4.8),
    ('dmitri', 'Dmitri Sokolow', 'dmitri@example.org', 2022, 4.2),
    ('esra', 'Esra Lindner', 'esra@example.org', 2018, 4.7),
    ('fiete', 'Fiete Harms', 'fiete@example.org', 2020, 3.9),
    ('greta', 'Greta Lind', 'greta@example.org', 2023, 4.5),
    ('hugo', 'Hugo Weiss', 'hugo@example.org', 2016, 4.4);
