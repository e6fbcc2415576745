INSERT INTO users (id, name, email, member_since, rating) VALUES
    (1, 'Anneke Brandt', 'anneke@example.org', 2017, 4.9),
    (2, 'Birol Kaya', 'birol@example.org', 2019, 4.6),
    (3, 'Clara Nowak', 'clara@example.org', 2021, 4.8),
    (4, 'Dmitri Sokolow', 'dmitri@example.org', 2022, 4.2),
    (5, 'Esra Lindner', 'esra@example.org', 2018, 4.7),
    (6, 'Fiete Harms', 'fiete@example.org', 2020, 3.9);
